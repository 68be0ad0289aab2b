//! The guard of a broker that is configured: one per shard, all of one policy.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::authenticator::{Login, Proof};
use super::guard::{Answer, Client, Credentials, Denial, Exchange, Grant, Guard, Identity, Publication, Verdict};
use super::login_check::LoginCheck;
use super::policy::{Policy, SubscribeMode};
use super::scram_login::{SCRAM_SHA_256, ScramLogin};
use super::verdicts::Verdicts;
use crate::base::Timestamp;
use crate::mqtt::{QoS, TopicFilter, TopicName};

#[derive(Debug)]
pub struct PolicyGuard {
    policy: Arc<Policy>,
    verdicts: Verdicts,
}

impl PolicyGuard {
    /// The seed is secret randomness: what verdicts are remembered by.
    pub fn new(policy: Arc<Policy>, seed: u64) -> Self {
        Self { verdicts: Verdicts::new(policy.rules.clone(), seed), policy }
    }
}

impl Guard for PolicyGuard {
    fn connect(&mut self, now: Timestamp, credentials: &Credentials<'_>) -> Answer {
        let Credentials { entrance, client_id, user_name, password } = *credentials;
        if self.policy.has_banned(now, entrance, user_name) {
            return refused(Denial::Banned);
        }
        let Some(listener) = self.policy.listener(entrance) else { return refused(Denial::NotAuthorized) };
        if let Some(name) = entrance.certificate.as_ref().filter(|_| listener.certificate_is_user) {
            let proof = Proof { user: Some(name.clone()), ..Proof::default() };
            return Answer::Now(Verdict::Accept(listener.identity(proof)));
        }
        let brings_nothing = user_name.is_none() && password.is_none();
        if brings_nothing || self.policy.authenticators.is_empty() {
            return match listener.anonymous {
                true => Answer::Now(Verdict::Accept(listener.identity(Proof::default()))),
                false if brings_nothing => refused(Denial::NotAuthorized),
                false => refused(Denial::BadUserNameOrPassword),
            };
        }
        let login = Login {
            entrance: entrance.clone(),
            client_id: client_id.into(),
            user_name: user_name.map(Into::into),
            password: password.map(|password| Zeroizing::new(password.into())),
        };
        Answer::Later(Box::new(LoginCheck::new(Arc::clone(&self.policy), login, now)))
    }

    fn exchange(
        &mut self,
        now: Timestamp,
        method: &str,
        credentials: &Credentials<'_>,
        seed: [u8; 24],
    ) -> Option<Box<dyn Exchange>> {
        let login =
            (method == SCRAM_SHA_256).then(|| ScramLogin::new(&self.policy, now, credentials.entrance, seed))??;
        Some(Box::new(login))
    }

    fn may_publish(&mut self, client: &Client<'_>, publication: &Publication<'_>) -> bool {
        self.verdicts.may_publish(client, publication)
    }

    fn may_subscribe(&mut self, client: &Client<'_>, filter: TopicFilter<'_>, qos: QoS) -> Grant {
        match self.verdicts.may_subscribe(client, filter, qos) {
            Grant::Filtered if self.policy.subscribe == SubscribeMode::Whole => Grant::Denied,
            grant => grant,
        }
    }

    fn may_receive(&mut self, client: &Client<'_>, topic: TopicName<'_>) -> bool {
        self.verdicts.may_receive(client, topic)
    }

    fn enter(&mut self, who: &Identity) -> Result<(), Denial> {
        let (Some(seats), Some(user)) = (&self.policy.seats, who.user()) else { return Ok(()) };
        if seats.enter_user(user) { Ok(()) } else { Err(Denial::TooManyConnections) }
    }

    fn leave(&mut self, who: &Identity) {
        if let (Some(seats), Some(user)) = (&self.policy.seats, who.user()) {
            seats.leave_user(user);
        }
    }
}

fn refused(denial: Denial) -> Answer {
    Answer::Now(Verdict::Refuse(denial))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::password::tests::WORK_DONE;
    use super::super::scram_client::ScramClient;
    use super::super::{
        Authenticator, Entrance, Identity, Lane, ListenerPolicy, Password, Rules, SALT_BYTES, Step, User, Users, Who,
        Work,
    };
    use super::*;
    use crate::base::ListenerId;

    const NOW: Timestamp = Timestamp(1);
    const FEW: NonZeroU32 = NonZeroU32::new(2).unwrap();
    const HERE: ListenerId = ListenerId(3);
    const CHEAP: Work = Work::Pbkdf2Sha512 { iterations: FEW };
    const SCRAM: Work = Work::Scram { iterations: FEW };

    fn users(entries: &[(&str, Work)]) -> Arc<Users> {
        let mut users = Users::new([1; 32]);
        for (name, work) in entries {
            let password = Password::derive(*work, format!("{name}'s").as_bytes(), [3; SALT_BYTES]);
            users.insert(name, User { password, groups: [Box::from("engineers")].into() });
        }
        Arc::new(users)
    }

    /// Two tables with ada, bob and carl, of whom bob can do SCRAM.
    fn policy() -> Policy {
        let tables = [users(&[("ada", CHEAP), ("bob", SCRAM)]), users(&[("carl", Work::Sha512), ("ada", SCRAM)])];
        let listener = ListenerPolicy { mount: "here/".into(), ..ListenerPolicy::default() };
        Policy {
            listeners: vec![(ListenerId(0), ListenerPolicy::default()), (HERE, listener)],
            authenticators: tables.iter().map(|table| Arc::clone(table) as Arc<dyn Authenticator>).collect(),
            scram: tables.into(),
            ..Policy::default()
        }
    }

    fn entrance(certificate: Option<&str>) -> Entrance {
        Entrance { listener: HERE, address: None, certificate: certificate.map(Into::into) }
    }

    fn verdict(policy: Policy, entrance: &Entrance, user_name: Option<&str>, password: Option<&str>) -> Verdict {
        let password = password.map(str::as_bytes);
        let credentials = Credentials { entrance, client_id: "c", user_name, password };
        PolicyGuard::new(Arc::new(policy), 1).connect(NOW, &credentials).verdict()
    }

    fn by_password(policy: Policy, user: &str, password: &str) -> Verdict {
        verdict(policy, &entrance(None), Some(user), Some(password))
    }

    fn somebody(user: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| Box::from(*group)).collect();
        Identity::new(Who { user: Some(user.into()), mount: "here/".into(), groups, ..Who::default() })
    }

    fn exchange(policy: Policy, method: &str) -> Option<Box<dyn Exchange>> {
        let entrance = entrance(None);
        let credentials = Credentials { entrance: &entrance, client_id: "c", user_name: None, password: None };
        PolicyGuard::new(Arc::new(policy), 1).exchange(NOW, method, &credentials, [9; 24])
    }

    /// What an exchange sends first, and what comes of it.
    fn by_scram(policy: Policy, user: &str, password: &str) -> (Vec<u8>, Step) {
        let mut exchange = exchange(policy, SCRAM_SHA_256).unwrap();
        let mut client = ScramClient::new(user, password, "abc");
        let Step::Challenge(server_first) = exchange.next(&client.first()) else { panic!("no challenge") };
        let client_final = client.answer(&server_first).unwrap();
        let step = exchange.next(&client_final);
        if let Step::Accept { data, .. } = &step {
            assert!(client.verify(data.as_ref().unwrap()));
        }
        (server_first, step)
    }

    #[test]
    fn a_user_of_any_table_comes_in_with_his_password_and_his_groups() {
        for user in ["ada", "bob", "carl"] {
            let wanted = Verdict::Accept(somebody(user, &["engineers"]));
            assert_eq!(by_password(policy(), user, &format!("{user}'s")), wanted);
        }
    }

    #[test]
    fn a_user_comes_in_by_scram_as_who_he_is_by_password() {
        let (_, step) = by_scram(policy(), "bob", "bob's");
        assert!(matches!(step, Step::Accept { identity, .. } if identity == somebody("bob", &["engineers"])));
        // The first table has ada, and no word of SCRAM for her.
        assert_eq!(by_scram(policy(), "ada", "ada's").1, Step::Refuse(Denial::BadUserNameOrPassword));
        assert_eq!(by_scram(policy(), "carl", "carl's").1, Step::Refuse(Denial::BadUserNameOrPassword));
    }

    #[test]
    fn scram_does_not_tell_which_users_exist() {
        let [bob, nobody, again, nemo] =
            ["bob", "nobody", "nobody", "nemo"].map(|user| by_scram(policy(), user, "x").0);
        assert_eq!(nobody, again);
        assert!(nobody != nemo && bob.len() == nobody.len());
    }

    #[test]
    fn scram_is_a_method_only_where_somebody_can_do_it() {
        assert!(exchange(policy(), SCRAM_SHA_256).is_some());
        for method in ["", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "PLAIN"] {
            assert!(exchange(policy(), method).is_none(), "{method}");
        }
        let scram = vec![users(&[("carl", Work::Sha512)])];
        assert!(exchange(Policy { scram, ..policy() }, SCRAM_SHA_256).is_none());
    }

    #[test]
    fn an_exchange_goes_on_with_what_it_was_begun_with() {
        let mut exchange = exchange(policy(), SCRAM_SHA_256).unwrap();
        assert!(!format!("{exchange:?}").contains("here/"), "the policy is not printed for each exchange");
        assert_eq!(exchange.next(b""), Step::Challenge(Vec::new()));
    }

    #[test]
    fn a_password_is_never_checked_on_the_shard_and_never_printed() {
        for user in ["ada", "nobody"] {
            let entrance = entrance(None);
            let password = Some(&b"hunter2"[..]);
            let credentials = Credentials { entrance: &entrance, client_id: "c", user_name: Some(user), password };
            let answer = PolicyGuard::new(Arc::new(policy()), 1).connect(NOW, &credentials);
            let Answer::Later(check) = answer else { panic!("answered at once") };
            assert_eq!(check.lane(), Lane::Compute);
            assert!(!format!("{check:?}").contains("hunter2"));
        }
    }

    // What a clock could tell: exactly one hash for everybody, and of the same work.
    #[test]
    fn an_unknown_user_and_a_wrong_password_get_the_same_answer_for_the_same_work() {
        let done_for = |policy: Policy, user: &str, password: &str| {
            WORK_DONE.take();
            assert_eq!(by_password(policy, user, password), Verdict::Refuse(Denial::BadUserNameOrPassword));
            WORK_DONE.take()
        };
        let one_table = || {
            let table = users(&[("ada", CHEAP), ("bob", CHEAP)]);
            Policy { authenticators: vec![table.clone(), users(&[])], scram: vec![table], ..policy() }
        };
        for (user, password) in [("ada", "wrong"), ("ada", ""), ("nobody", "wrong"), ("nobody", ""), ("", "ada's")] {
            assert_eq!(done_for(one_table(), user, password), [CHEAP], "{user}");
            // With many works one of them, and one hash even with several tables.
            assert_eq!(done_for(policy(), user, password).len(), 1, "{user}");
        }
        for user in ["ada", "nobody"] {
            let refused = Verdict::Refuse(Denial::BadUserNameOrPassword);
            assert_eq!(verdict(policy(), &entrance(None), Some(user), None), refused);
        }
    }

    #[test]
    fn who_is_unknown_hears_so_where_it_is_configured() {
        WORK_DONE.take();
        let policy = || Policy { tells_unknown_users: true, ..policy() };
        assert_eq!(by_password(policy(), "nobody", "wrong"), Verdict::Refuse(Denial::NotAuthorized));
        assert_eq!(WORK_DONE.take(), []);
        assert_eq!(by_password(policy(), "ada", "wrong"), Verdict::Refuse(Denial::BadUserNameOrPassword));
    }

    #[test]
    fn who_brings_nothing_comes_in_where_the_listener_lets_him() {
        let mut relaxed = policy();
        assert_eq!(verdict(policy(), &entrance(None), None, None), Verdict::Refuse(Denial::NotAuthorized));
        relaxed.listeners[1].1.anonymous = true;
        let nobody = Identity::new(Who { mount: "here/".into(), ..Who::default() });
        assert_eq!(verdict(relaxed.clone(), &entrance(None), None, None), Verdict::Accept(nobody.clone()));
        // Who tried to prove something and could not is not nobody.
        let refused = Verdict::Refuse(Denial::BadUserNameOrPassword);
        assert_eq!(verdict(relaxed.clone(), &entrance(None), Some("ada"), Some("wrong")), refused);
        assert_eq!(verdict(relaxed.clone(), &entrance(None), None, Some("token")), refused);
        // Where nothing can be proven a name is nothing.
        relaxed.authenticators.clear();
        assert_eq!(verdict(relaxed.clone(), &entrance(None), Some("ada"), Some("x")), Verdict::Accept(nobody));
        relaxed.listeners[1].1.anonymous = false;
        assert_eq!(verdict(relaxed, &entrance(None), Some("ada"), Some("ada's")), refused);
    }

    #[test]
    fn a_certificate_names_its_user_where_the_listener_says_so() {
        let mut policy = policy();
        let certified = entrance(Some("carol"));
        assert_eq!(verdict(policy.clone(), &certified, None, None), Verdict::Refuse(Denial::NotAuthorized));
        policy.listeners[1].1.certificate_is_user = true;
        let carol = Verdict::Accept(somebody("carol", &[]));
        assert_eq!(verdict(policy.clone(), &certified, None, None), carol);
        assert_eq!(verdict(policy.clone(), &certified, Some("ada"), Some("wrong")), carol);
        assert_eq!(verdict(policy, &entrance(None), None, None), Verdict::Refuse(Denial::NotAuthorized));
    }

    #[test]
    fn nobody_comes_in_by_a_listener_that_is_not_there() {
        let mut policy = policy();
        policy.listeners.truncate(1);
        assert_eq!(by_password(policy, "ada", "ada's"), Verdict::Refuse(Denial::NotAuthorized));
    }

    #[test]
    fn a_subscription_that_would_bring_some_of_its_messages_is_denied_or_filtered_as_configured() {
        let rules = Arc::new(Rules::parse_acl("user ada\ntopic a/b\n").unwrap());
        let identity = Identity::of_user("ada");
        let client = Client { identity: &identity, client_id: "c" };
        for (subscribe, wanted) in [(SubscribeMode::Whole, Grant::Denied), (SubscribeMode::Filtered, Grant::Filtered)] {
            let policy = Policy { rules: Some(Arc::clone(&rules)), subscribe, ..policy() };
            let mut guard = PolicyGuard::new(Arc::new(policy), 1);
            let mut grant = |filter| guard.may_subscribe(&client, TopicFilter::trusted(filter), QoS::AtMostOnce);
            assert_eq!([grant("a/b"), grant("a/+"), grant("b")], [Grant::Whole, wanted, Grant::Denied]);
            let [mine, other] = ["a/b", "a/c"].map(TopicName::trusted);
            assert!(guard.may_receive(&client, mine) && !guard.may_receive(&client, other));
            let [mine, other] = [mine, other].map(|topic| Publication { topic, qos: QoS::AtMostOnce, retain: false });
            assert!(guard.may_publish(&client, &mine) && !guard.may_publish(&client, &other));
        }
    }

    /// Says what it is told to say of everybody.
    #[derive(Debug)]
    struct Fixed(Lane, Option<Result<Proof, Denial>>);

    impl Authenticator for Fixed {
        fn lane(&self) -> Lane {
            self.0
        }

        fn authenticate(&self, _: Timestamp, _: &Login) -> Option<Result<Proof, Denial>> {
            self.1.clone()
        }
    }

    #[test]
    fn the_first_that_knows_somebody_answers_and_each_is_asked_on_its_lane() {
        let nothing = |lane| Arc::new(Fixed(lane, None)) as Arc<dyn Authenticator>;
        let down = Arc::new(Fixed(Lane::Wait, Some(Err(Denial::ServerUnavailable))));
        let table: Arc<dyn Authenticator> = users(&[("ada", CHEAP)]);
        let authenticators =
            vec![nothing(Lane::Wait), nothing(Lane::Wait), nothing(Lane::Compute), table, down, nothing(Lane::Compute)];
        let lanes_of = |user: &str| {
            let policy = Policy { authenticators: authenticators.clone(), ..policy() };
            let entrance = entrance(None);
            let credentials =
                Credentials { entrance: &entrance, client_id: "c", user_name: Some(user), password: Some(b"ada's") };
            let mut answer = PolicyGuard::new(Arc::new(policy), 1).connect(NOW, &credentials);
            let mut lanes = Vec::new();
            loop {
                match answer {
                    Answer::Later(check) => {
                        lanes.push(check.lane());
                        answer = check.run();
                    }
                    Answer::Now(verdict) => return (lanes, verdict),
                }
            }
        };
        let accepted = Verdict::Accept(somebody("ada", &["engineers"]));
        assert_eq!(lanes_of("ada"), (vec![Lane::Wait, Lane::Compute], accepted));
        let refused = Verdict::Refuse(Denial::ServerUnavailable);
        assert_eq!(lanes_of("bob"), (vec![Lane::Wait, Lane::Compute, Lane::Wait], refused));
    }
}
