//! How to sleep while glommio has work of its own; a shard gives it none, and only comparisons use it. glommio waits for
//! its `io_uring` alone, and has no way to wait for a descriptor; but its `TcpStream` arms a poll on whatever descriptor
//! it is made of, at the moment it is made. So for one sleep a stream is made of the epoll set: reading from it waits
//! until the set is ready, and then fails, which is all that is wanted.

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::time::Duration;

use futures_lite::AsyncReadExt;
use glommio::net::TcpStream;

/// Returns when something in the epoll set is ready, or the time is over; glommio's other tasks go on meanwhile.
pub async fn ready_or_timeout(epoll: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    if timeout == Some(Duration::ZERO) {
        // No time for glommio is one that is too short to be set.
        return Ok(());
    }
    let own = epoll.as_fd().try_clone_to_owned()?;
    #[expect(unsafe_code, reason = "glommio makes a stream of a descriptor in no other way")]
    // SAFETY: the descriptor was made a line above and belongs to nobody else; the stream closes it.
    let mut stream = unsafe { TcpStream::from_raw_fd(own.into_raw_fd()) };
    stream.set_read_timeout(timeout)?;
    // Neither the error of an epoll set that is no socket nor that of the time says anything new.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use glommio::LocalExecutorBuilder;

    use super::super::poller::Poller;
    use super::*;

    fn run<T: 'static>(future: impl Future<Output = T> + 'static) -> T {
        LocalExecutorBuilder::default().make().expect("an executor").run(future)
    }

    #[test]
    fn it_rings_when_the_set_becomes_ready_and_other_tasks_run_meanwhile() {
        run(async {
            let (mut writer, reader) = UnixStream::pair().expect("a pair");
            let mut poller = Poller::new().expect("an epoll set");
            poller.add_source(&reader, 7).expect("added");
            let ran = Rc::new(Cell::new(false));
            let task = glommio::spawn_local({
                let ran = Rc::clone(&ran);
                async move {
                    ran.set(true);
                    writer.write_all(b"x").expect("written");
                    writer
                }
            });
            ready_or_timeout(&poller, Some(Duration::from_secs(20))).await.expect("a doorbell");
            assert!(ran.get());
            poller.wait(Some(Duration::ZERO));
            assert_eq!(poller.event(0).token, 7);
            task.await;
        });
    }

    #[test]
    fn it_stops_waiting_when_the_time_is_over() {
        run(async {
            let poller = Poller::new().expect("an epoll set");
            for millis in [0, 1] {
                ready_or_timeout(&poller, Some(Duration::from_millis(millis))).await.expect("a doorbell");
            }
        });
    }
}
