//! Certificates made for each test, in files as an operator has them, and handshakes in memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, ClientConnection, ServerConnection};
use tempfile::TempDir;

use super::*;
use crate::server::Address;

/// A folder with what an authority signs.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// `name.pem` and `name.key`.
    fn issue(&self, name: &str, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> CertificateFiles {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
        CertificateFiles { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    /// `crl.pem`, which takes the certificate with this number back.
    fn revoke(&self, serial: u64, next_update_year: i32) {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_update_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &params.signed_by(&self.issuer).unwrap().pem().unwrap());
    }
}

fn listener(files: &CertificateFiles) -> ListenerConfig {
    let plain = ListenerConfig::at(Address::Unix("a".into()));
    ListenerConfig { certificate: files.certificate.clone(), key: files.key.clone(), ..plain }
}

fn rules(listener: &ListenerConfig) -> Result<TlsRules, String> {
    tls_rules(listener, &mut Reading::default()).map(|rules| rules.expect("there is TLS"))
}

/// A client that believes the authority, and shows a certificate where it has one.
fn client(authority: &Authority, own: Option<&CertificateFiles>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match own {
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap().collect::<Result<_, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

/// A handshake to its end, with the server's certificate as the client got it.
fn shake(rules: &TlsRules, config: ClientConfig, name: &str) -> Result<(ClientConnection, Vec<u8>), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut server = ServerConnection::new(Arc::clone(&rules.config))?;
    for _ in 0..5 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            server.read_tls(&mut wire).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let shown = client.peer_certificates().unwrap()[0].to_vec();
    Ok((client, shown))
}

fn shown(rules: &TlsRules, authority: &Authority, name: &str) -> Option<Vec<u8>> {
    shake(rules, client(authority, None), name).ok().map(|(_, shown)| shown)
}

fn der(files: &CertificateFiles) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.certificate).unwrap().to_vec()
}

#[test]
fn a_client_gets_the_certificate_for_the_name_that_it_asks_for_and_the_first_for_any_other() {
    let authority = Authority::new("ca");
    let [first, second] = ["a.example", "*.example.org"].map(|name| authority.issue(name, 1, |_| {}));
    let rules = rules(&ListenerConfig { more_certificates: vec![second.clone()], ..listener(&first) }).unwrap();
    assert_eq!(shown(&rules, &authority, "a.example"), Some(der(&first)));
    assert_eq!(shown(&rules, &authority, "b.example.org"), Some(der(&second)));
    assert_eq!(shown(&rules, &authority, "unknown.example"), None, "the first one is not valid for it");
}

#[test]
fn tls_is_mqtt_and_http_where_websocket_begins() {
    let authority = Authority::new("ca");
    let files = authority.issue("a.example", 1, |_| {});
    for (websocket, protocol) in [(false, "mqtt"), (true, "http/1.1")] {
        let rules = rules(&ListenerConfig { websocket, ..listener(&files) }).unwrap();
        let mut config = client(&authority, None);
        config.alpn_protocols = vec![b"h2".into(), protocol.into()];
        let (client, _) = shake(&rules, config, "a.example").unwrap();
        assert_eq!(client.alpn_protocol(), Some(protocol.as_bytes()));
        assert!(shown(&rules, &authority, "a.example").is_some(), "without ALPN it works as well");
    }
}

#[test]
fn the_lowest_version_is_kept_to() {
    let authority = Authority::new("ca");
    let files = authority.issue("a.example", 1, |_| {});
    for (tls_min, works) in [(TlsVersion::V1_2, true), (TlsVersion::V1_3, false)] {
        let rules = rules(&ListenerConfig { tls_min, ..listener(&files) }).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let old = builder.with_protocol_versions(&[&version::TLS12]).unwrap();
        let old = old.with_root_certificates(roots).with_no_client_auth();
        assert_eq!(shake(&rules, old, "a.example").is_ok(), works);
        assert!(shown(&rules, &authority, "a.example").is_some());
    }
}

#[test]
fn clients_show_certificates_of_the_authority_that_it_did_not_take_back() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let files = authority.issue("a.example", 1, |_| {});
    let (own, revoked) = (authority.issue("own", 2, |_| {}), authority.issue("revoked", 3, |_| {}));
    let foreign = stranger.issue("foreign", 2, |_| {});
    let comes_in = |listener: &ListenerConfig, shows: Option<&CertificateFiles>| {
        shake(&rules(listener).unwrap(), client(&authority, shows), "a.example").is_ok()
    };
    let mut listener = ListenerConfig {
        client_ca: authority.path("ca.pem"),
        client_certificates: ClientCertificates::Required,
        ..listener(&files)
    };
    let all = [None, Some(&own), Some(&revoked), Some(&foreign)];
    assert_eq!(all.map(|shows| comes_in(&listener, shows)), [false, true, true, false]);
    listener.client_certificates = ClientCertificates::Optional;
    assert_eq!(all.map(|shows| comes_in(&listener, shows)), [true, true, true, false]);
    authority.revoke(3, 2_100);
    listener.crl = authority.path("crl.pem");
    assert_eq!(all.map(|shows| comes_in(&listener, shows)), [true, true, false, false]);
    authority.revoke(3, 2_021);
    assert_eq!(all.map(|shows| comes_in(&listener, shows)), [true, false, false, false], "the list has expired");
}

#[test]
fn what_is_wrong_is_told_with_the_file() {
    let authority = Authority::new("ca");
    let files = authority.issue("a.example", 1, |_| {});
    let other = authority.issue("other", 2, |_| {});
    let folder = authority.folder.path().display();
    let mismatch = CertificateFiles { key: other.key, ..files.clone() };
    assert_eq!(
        rules(&listener(&mismatch)).unwrap_err(),
        format!("the key in {folder}/other.key is not that of the first certificate in {folder}/a.example.pem")
    );
    authority.write("empty", "");
    let empty = |key: bool| {
        let empty = authority.path("empty");
        let files = files.clone();
        let files = if key {
            CertificateFiles { key: empty, ..files }
        } else {
            CertificateFiles { certificate: empty, ..files }
        };
        rules(&listener(&files)).unwrap_err()
    };
    assert_eq!(empty(false), format!("{folder}/empty has no certificate (PEM) in it"));
    assert_eq!(empty(true), format!("{folder}/empty has no private key in it that is PEM and not encrypted"));
    authority.write("broken.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!\n-----END PRIVATE KEY-----\n");
    let broken = CertificateFiles { key: authority.path("broken.key"), ..files.clone() };
    let error = rules(&listener(&broken)).unwrap_err();
    assert_eq!(error, format!("{folder}/broken.key has no private key in it: its PEM is broken"));
    let asking = ListenerConfig {
        client_ca: authority.path("ca.pem"),
        client_certificates: ClientCertificates::Required,
        crl: authority.path("empty"),
        ..listener(&files)
    };
    assert_eq!(rules(&asking).unwrap_err(), format!("{folder}/empty has no revocation list (PEM) in it"));
    let asking = ListenerConfig { client_ca: authority.path("missing"), ..asking };
    let missing = format!("cannot read {folder}/missing: No such file or directory (os error 2)");
    assert_eq!(rules(&asking).unwrap_err(), missing);
}

#[test]
fn a_certificate_that_has_expired_and_a_key_that_everybody_may_read_are_warned_of() {
    let authority = Authority::new("ca");
    let files = authority.issue("a.example", 1, |params| params.not_after = date_time_ymd(2021, 1, 1));
    fs::set_permissions(&files.key, Permissions::from_mode(0o644)).unwrap();
    let mut reading = Reading::default();
    tls_rules(&listener(&files), &mut reading).unwrap();
    let folder = authority.folder.path().display();
    assert_eq!(reading.warnings.len(), 2, "{:?}", reading.warnings);
    assert!(reading.warnings[0].starts_with(&format!("a certificate in {folder}/a.example.pem is valid from ")));
    assert!(reading.warnings[1].contains("may read the secrets in"));
}
