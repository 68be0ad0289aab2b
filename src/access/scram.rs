//! SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), without channel binding.
//!
//! | state      | input                         | step                          | next state |
//! |------------|-------------------------------|-------------------------------|------------|
//! | First      | nothing                       | challenge: nothing            | First      |
//! | First      | client-first-message          | challenge: server-first       | Challenged |
//! | Challenged | client-final, right proof     | accept: server-final          | Over       |
//! | Challenged | client-final, wrong proof     | refuse: user name or password | Over       |
//! | any        | anything else                 | refuse: not authorized        | Over       |

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::{Choice, ConstantTimeEq as _};

use super::credential::{Credential, Key, decoded, digest, hmac};
use super::{Denial, Exchange, Identity, Step};
use crate::base::limits::AUTH_DATA_BYTES_MAX;

/// Where an exchange finds the credentials of a user.
pub(super) trait Directory: fmt::Debug + Send {
    /// An unknown user gets a credential too, always the same one, and a choice of zero: what he sees, and the work
    /// that is done for him, are those of a known user with a wrong password.
    fn credential(&self, user: &str) -> (Credential, Choice);
}

/// A running exchange.
#[derive(Debug)]
pub(super) struct Scram<D> {
    state: State<D>,
}

#[derive(Debug)]
enum State<D> {
    First(First<D>),
    Challenged(Challenged),
    Over,
}

impl<D: Directory> Scram<D> {
    pub(super) fn new(directory: D, seed: [u8; 24]) -> Self {
        // 24 bytes are 32 characters, none of them a comma.
        Self { state: State::First(First { directory, nonce: BASE64.encode(seed) }) }
    }
}

impl<D> Scram<D> {
    /// Who the client says it is, while that is to be proven.
    pub(super) fn user(&self) -> Option<&str> {
        match &self.state {
            State::Challenged(challenged) => challenged.identity.user(),
            State::First(_) | State::Over => None,
        }
    }
}

impl<D: Directory> Exchange for Scram<D> {
    fn next(&mut self, data: &[u8]) -> Step {
        let (state, step) = match std::mem::replace(&mut self.state, State::Over) {
            // The client opens SCRAM; where its CONNECT has no data an empty challenge asks for it. (RFC 4422, section 5)
            State::First(first) if data.is_empty() => (State::First(first), Step::Challenge(Vec::new())),
            State::First(first) => match text(data).and_then(|message| first.handle(message)) {
                Ok((challenged, server_first)) => (State::Challenged(challenged), Step::Challenge(server_first)),
                Err(denial) => (State::Over, Step::Refuse(denial)),
            },
            State::Challenged(challenged) => match text(data).and_then(|message| challenged.handle(message)) {
                Ok((identity, server_final)) => (State::Over, Step::Accept { identity, data: Some(server_final) }),
                Err(denial) => (State::Over, Step::Refuse(denial)),
            },
            State::Over => (State::Over, Step::Refuse(MALFORMED)),
        };
        self.state = state;
        step
    }
}

/// A message that this method does not know, or that asks for what this server does not do.
const MALFORMED: Denial = Denial::NotAuthorized;

fn text(data: &[u8]) -> Result<&str, Denial> {
    if data.len() > AUTH_DATA_BYTES_MAX {
        return Err(MALFORMED);
    }
    str::from_utf8(data).map_err(|_| MALFORMED)
}

/// Waits for the client-first-message.
#[derive(Debug)]
struct First<D> {
    directory: D,
    /// The server's part of the nonce.
    nonce: String,
}

impl<D: Directory> First<D> {
    fn handle(self, message: &str) -> Result<(Challenged, Vec<u8>), Denial> {
        let first = ClientFirst::parse(message).ok_or(MALFORMED)?;
        let (credential, known) = self.directory.credential(&first.user);
        let nonce = format!("{}{}", first.nonce, self.nonce);
        let salt = BASE64.encode(credential.salt);
        let server_first = format!("r={nonce},s={salt},i={}", credential.iterations);
        let challenged = Challenged {
            identity: Identity::of_user(&first.user),
            binding: BASE64.encode(first.header),
            signed: format!("{},{server_first},", first.bare),
            nonce,
            credential,
            known,
        };
        Ok((challenged, server_first.into_bytes()))
    }
}

/// Waits for the client-final-message.
struct Challenged {
    identity: Identity,
    /// What `c=` must say: the header of the first message, in base64.
    binding: String,
    /// Both first messages, to which the last one is added for the signature.
    signed: String,
    nonce: String,
    credential: Credential,
    known: Choice,
}

impl fmt::Debug for Challenged {
    /// Without what was exchanged, which would let a reader of logs try passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenged").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Challenged {
    fn handle(self, message: &str) -> Result<(Identity, Vec<u8>), Denial> {
        let last = ClientFinal::parse(message).ok_or(MALFORMED)?;
        // Neither is a secret: both were on the wire.
        if last.binding != self.binding || last.nonce != self.nonce {
            return Err(MALFORMED);
        }
        let signed: [&[u8]; 2] = [self.signed.as_bytes(), last.without_proof.as_bytes()];
        let mut client_key: Key = hmac(&self.credential.stored_key, &signed);
        client_key.iter_mut().zip(last.proof).for_each(|(byte, proof)| *byte ^= proof);
        let proven = digest(&client_key).ct_eq(&self.credential.stored_key);
        let server_final = format!("v={}", BASE64.encode(hmac(&self.credential.server_key, &signed)));
        if bool::from(proven & self.known) {
            Ok((self.identity, server_final.into_bytes()))
        } else {
            Err(Denial::BadUserNameOrPassword)
        }
    }
}

/// `n,[a=authzid],n=user,r=nonce[,extensions]`, with `y` for the first `n` where the client could bind a channel.
struct ClientFirst<'a> {
    header: &'a str,
    bare: &'a str,
    user: Cow<'a, str>,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (binding, rest) = message.split_once(',')?;
        let (authorization, bare) = rest.split_once(',')?;
        let header = &message[..message.len() - bare.len()];
        let mut attributes = bare.split(',');
        // A mandatory extension, `m=`, would stand here: there is none that this server knows.
        let user = name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        // Binding a channel, `p=`, is SCRAM-SHA-256-PLUS, which this server does not offer.
        let bound = !matches!(binding, "n" | "y");
        // To act as somebody else is not offered either.
        let as_other = !authorization.is_empty() && name(authorization.strip_prefix("a=")?)? != user;
        if bound || as_other || !is_nonce(nonce) || !attributes.all(is_optional_extension) {
            return None;
        }
        Some(Self { header, bare, user, nonce })
    }
}

/// `c=binding,r=nonce[,extensions],p=proof`
struct ClientFinal<'a> {
    without_proof: &'a str,
    binding: &'a str,
    nonce: &'a str,
    proof: Key,
}

impl<'a> ClientFinal<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next()?.strip_prefix("c=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if !attributes.all(is_optional_extension) {
            return None;
        }
        Some(Self { without_proof, binding, nonce, proof: decoded(proof)? })
    }
}

/// A user's name, in which `=2C` stands for a comma and `=3D` for an equals sign.
fn name(escaped: &str) -> Option<Cow<'_, str>> {
    if escaped.is_empty() || escaped.contains('\0') {
        return None;
    }
    let mut parts = escaped.split('=');
    let mut name = Cow::Borrowed(parts.next()?);
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        name.to_mut().push(sign);
        name.to_mut().push_str(rest);
    }
    Some(name)
}

/// Printable ASCII; its comma ended it already.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `x=value`, for any letter but `m`, whose extensions must not be ignored.
fn is_optional_extension(attribute: &str) -> bool {
    match attribute.as_bytes() {
        [letter, b'=', value @ ..] => {
            letter.is_ascii_alphabetic() && *letter != b'm' && !value.is_empty() && !value.contains(&0)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scram_client::ScramClient;
    use super::*;

    const SEED: [u8; 24] = [0x5a; 24];

    /// Knows `user` by the credential of RFC 7677, section 3, and a user with a name to be escaped.
    #[derive(Debug)]
    struct Two;

    impl Directory for Two {
        fn credential(&self, user: &str) -> (Credential, Choice) {
            let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==\
                        $WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
            (text.parse().unwrap(), Choice::from(u8::from(["user", "a,b=c"].contains(&user))))
        }
    }

    fn refused(step: &Step) -> bool {
        *step == Step::Refuse(Denial::NotAuthorized)
    }

    fn accepted(step: &Step) -> bool {
        matches!(step, Step::Accept { .. })
    }

    /// An exchange that has seen the client's first message, the client, and what it must answer to.
    fn challenged(user: &str, password: &str) -> (Scram<Two>, ScramClient, Vec<u8>) {
        let mut client = ScramClient::new(user, password, "rOprNGfwEbeRWgbNEkqO");
        let mut scram = Scram::new(Two, SEED);
        let Step::Challenge(server_first) = scram.next(&client.first()) else { panic!("no challenge") };
        let client_final = client.answer(&server_first).unwrap();
        (scram, client, client_final)
    }

    #[test]
    fn the_exchange_of_rfc_7677_comes_out_byte_for_byte() {
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        let mut scram = Scram { state: State::First(First { directory: Two, nonce }) };
        assert_eq!(
            scram.next(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
            Step::Challenge(
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_vec()
            )
        );
        assert_eq!(
            scram.next(
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                  p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            ),
            Step::Accept {
                identity: Identity::of_user("user"),
                data: Some(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec())
            }
        );
    }

    #[test]
    fn an_exchange_with_the_right_password_proves_both_sides() {
        for user in ["user", "a,b=c"] {
            let (mut scram, client, client_final) = challenged(user, "pencil");
            let Step::Accept { identity, data: Some(server_final) } = scram.next(&client_final) else {
                panic!("not accepted")
            };
            assert_eq!(identity.user(), Some(user));
            assert!(client.verify(&server_final));
            assert!(refused(&scram.next(&client_final)), "an exchange that is over accepts nothing");
        }
    }

    #[test]
    fn an_empty_first_message_is_asked_for_with_an_empty_challenge() {
        let mut scram = Scram::new(Two, SEED);
        assert_eq!(scram.next(b""), Step::Challenge(Vec::new()));
        assert!(matches!(scram.next(b"n,,n=user,r=x"), Step::Challenge(data) if data.starts_with(b"r=xWlpa")));
        assert!(refused(&scram.next(b"")));
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
        for (user, password) in [("user", "pencils"), ("nobody", "pencil"), ("nobody", "")] {
            let (mut scram, _, client_final) = challenged(user, password);
            assert_eq!(scram.next(&client_final), Step::Refuse(Denial::BadUserNameOrPassword), "{user}");
            assert!(refused(&scram.next(&client_final)));
        }
    }

    #[test]
    fn a_first_message_out_of_form_is_refused() {
        for message in [
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,r=x,n=user",
            "n,,n=,r=x",
            "n,,n=us=er,r=x",
            "n,,n=us=2c,r=x",
            "n,,n=user,r=x\x7f",
            "n,,n=user,r=\u{e9}",
            "n,,n=user,r=x,",
            "n,,n=user,r=x,y",
            "n,,n=user,r=x,m=y",
            "n,,m=x,n=user,r=x",
            "n,a=other,n=user,r=x",
            "n,user,n=user,r=x",
            "p=tls-unique,,n=user,r=x",
            "x,,n=user,r=x",
            ",,n=user,r=x",
            "n,,n=us\0er,r=x",
        ] {
            let mut scram = Scram::new(Two, SEED);
            assert!(refused(&scram.next(message.as_bytes())), "{message}");
            assert!(refused(&scram.next(b"n,,n=user,r=x")), "after {message}");
        }
        assert!(refused(&Scram::new(Two, SEED).next(b"n,,n=user,r=\xff")));
        let long = format!("n,,n=user,r={}", "x".repeat(AUTH_DATA_BYTES_MAX));
        assert!(refused(&Scram::new(Two, SEED).next(long.as_bytes())));
    }

    #[test]
    fn a_first_message_may_say_that_the_client_could_bind_and_who_it_acts_as() {
        for (header, binding) in [("y,,", "eSws"), ("n,a=user,", "bixhPXVzZXIs")] {
            let mut client = ScramClient::new("user", "pencil", "abc");
            client.header = header.to_owned();
            let mut scram = Scram::new(Two, SEED);
            let Step::Challenge(server_first) = scram.next(&client.first()) else { panic!("{header}") };
            let client_final = client.answer(&server_first).unwrap();
            assert!(client_final.starts_with(format!("c={binding},").as_bytes()));
            assert!(accepted(&scram.next(&client_final)), "{header}");
        }
        assert!(matches!(Scram::new(Two, SEED).next(b"n,,n=user,r=x,y=z"), Step::Challenge(_)));
    }

    #[test]
    fn a_last_message_with_another_binding_nonce_or_form_is_refused() {
        type Edit = fn(&str) -> String;
        let edits: [(&str, Edit); 8] = [
            ("the binding of y,,", |message| message.replace("c=biws", "c=eSws")),
            ("a nonce cut short", |message| message.replace("Wlpa,", "Wlp,")),
            ("only the client's nonce", |message| message.replace("Wlpa", "")),
            ("a mandatory extension", |message| message.replace(",p=", ",m=x,p=")),
            ("no proof", |message| message.split(",p=").next().unwrap().to_owned()),
            ("a long proof", |message| message.replace(",p=", ",p=AAAA")),
            ("something after the proof", |message| format!("{message},x=y")),
            ("no binding", |message| message.replace("c=biws,", "")),
        ];
        for (what, edit) in edits {
            let (mut scram, _, client_final) = challenged("user", "pencil");
            let edited = edit(str::from_utf8(&client_final).unwrap());
            assert_ne!(edited.as_bytes(), client_final, "{what}");
            assert!(refused(&scram.next(edited.as_bytes())), "{what}");
        }
    }

    #[test]
    fn an_extension_of_the_last_message_is_signed_with_it() {
        let (mut scram, _, client_final) = challenged("user", "pencil");
        let added = str::from_utf8(&client_final).unwrap().replace(",p=", ",x=y,p=");
        assert_eq!(scram.next(added.as_bytes()), Step::Refuse(Denial::BadUserNameOrPassword));
    }

    #[test]
    fn nothing_printed_of_an_exchange_helps_to_guess_a_password() {
        let (scram, _, _) = challenged("user", "pencil");
        let printed = format!("{scram:?}");
        assert!(printed.contains("user") && !printed.contains("W22ZaJ0S") && !printed.contains("rOprNG"), "{printed}");
    }

    proptest! {
        #[test]
        fn random_bytes_never_get_in(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..4)) {
            let mut scram = Scram::new(Two, SEED);
            for message in messages {
                prop_assert!(!accepted(&scram.next(&message)));
            }
        }

        #[test]
        fn random_attributes_never_get_in(messages in prop::collection::vec("[nypcrmax=,0-9A-D\\x00é]{0,40}", 1..4)) {
            let mut scram = Scram::new(Two, SEED);
            for message in messages {
                prop_assert!(!accepted(&scram.next(message.as_bytes())));
            }
        }

        #[test]
        fn a_mutated_first_message_is_challenged_or_refused(at in 0..36usize, byte: u8, cut in 0..37usize) {
            let mut message = b"n,a=user,n=user,r=rOprNGfwEbeRWgbNEk".to_vec();
            message[at] = byte;
            message.truncate(cut);
            prop_assert!(!accepted(&Scram::new(Two, SEED).next(&message)));
        }

        #[test]
        fn a_mutated_last_message_is_refused(at: prop::sample::Index, flip in 1..=255u8, cut: prop::sample::Index) {
            let (mut scram, _, client_final) = challenged("user", "pencil");
            let mut flipped = client_final.clone();
            let at = at.index(flipped.len());
            flipped[at] ^= flip;
            prop_assert!(matches!(scram.next(&flipped), Step::Refuse(_)));
            let (mut scram, _, client_final) = challenged("user", "pencil");
            let cut = &client_final[..cut.index(client_final.len())];
            prop_assert!(matches!(scram.next(cut), Step::Refuse(_)));
        }
    }
}
