//! Who asks for something, as rules see him.

#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    /// None: anonymous.
    pub(super) user: Option<&'a str>,
    pub(super) client_id: &'a str,
    /// Those that his own credentials name.
    pub(super) groups: &'a [Box<str>],
}
