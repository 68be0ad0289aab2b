//! What a listener needs for TLS, of the files that it names: chains, keys, authorities, revocation lists.

use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::listener_config::{CertificateFiles, ClientCertificates, ListenerConfig, TlsVersion, UserNameFrom};
use super::named_file::Reading;
use crate::net::{CertificateUserName, TlsRules};

const ALPN_MQTT: &[u8] = b"mqtt";
/// WebSocket begins as HTTP.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// None where there is no TLS. The error names the file.
pub(super) fn tls_rules(listener: &ListenerConfig, reading: &mut Reading) -> Result<Option<TlsRules>, String> {
    if !listener.has_tls() {
        return Ok(None);
    }
    let provider = Arc::new(ring::default_provider());
    let keys = listener
        .certificates()
        .iter()
        .map(|files| certified_key(files, &provider, reading))
        .collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(listener.tls_min))
        .map_err(|error| format!("TLS is not to be had: {error}"))?;
    let verifier = client_verifier(listener, provider, reading)?;
    let asks_clients = verifier.is_some();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Chains(keys)));
    config.alpn_protocols = vec![if listener.websocket { ALPN_HTTP } else { ALPN_MQTT }.into()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // What a client remembers of a session needs no memory here. A client's certificate is looked at each time, so that
    // one that was revoked or has run out ends with the next connection.
    config.send_tls13_tickets = 0;
    if !asks_clients {
        config.ticketer = ring::Ticketer::new().map_err(|error| format!("there is no randomness for TLS: {error}"))?;
        config.send_tls13_tickets = 1;
    }
    Ok(Some(TlsRules { config: Arc::new(config), user_name: user_name(listener.user_name_from) }))
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    // From the highest down.
    const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match least {
        TlsVersion::V1_2 => VERSIONS,
        TlsVersion::V1_3 => &VERSIONS[..1],
    }
}

fn user_name(from: UserNameFrom) -> CertificateUserName {
    match from {
        UserNameFrom::None => CertificateUserName::None,
        UserNameFrom::Cn => CertificateUserName::CommonName,
        UserNameFrom::San => CertificateUserName::SubjectAltName,
    }
}

fn certified_key(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    reading: &mut Reading,
) -> Result<Arc<CertifiedKey>, String> {
    let (chain_name, key_name) = (files.certificate.display(), files.key.display());
    let chain = certificates(&files.certificate, reading)?;
    tell_if_expired(&files.certificate, &chain, reading);
    let key = PrivateKeyDer::from_pem_slice(&reading.secret(&files.key)?).map_err(|error| match error {
        PemError::NoItemsFound => format!("{key_name} has no private key in it that is PEM and not encrypted"),
        // What the error says might be a part of the key.
        _ => format!("{key_name} has no private key in it: its PEM is broken"),
    })?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("the key in {key_name} is not that of the first certificate in {chain_name}")
        }
        rustls::Error::InvalidCertificate(error) => format!("{chain_name} has a certificate that is broken: {error:?}"),
        error => format!("{key_name} has a key that cannot be used: {error}"),
    })?;
    Ok(Arc::new(certified))
}

fn certificates(path: &Path, reading: &mut Reading) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(&reading.bytes(path)?).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| broken(path, &error))?;
    if found.is_empty() { Err(format!("{} has no certificate (PEM) in it", path.display())) } else { Ok(found) }
}

fn broken(path: &Path, error: &PemError) -> String {
    format!("{} is broken: {error}", path.display())
}

/// A broker with an expired certificate can be reached by those who do not look: better than not at all.
fn tell_if_expired(path: &Path, chain: &[CertificateDer<'_>], reading: &mut Reading) {
    for certificate in chain {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { continue };
        if !parsed.validity().is_valid() {
            let (path, from, to) = (path.display(), parsed.validity().not_before, parsed.validity().not_after);
            reading.warnings.push(format!("a certificate in {path} is valid from {from} to {to} only"));
        }
    }
}

fn client_verifier(
    listener: &ListenerConfig,
    provider: Arc<CryptoProvider>,
    reading: &mut Reading,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if listener.client_certificates == ClientCertificates::None {
        return Ok(None);
    }
    let authorities = listener.client_ca.display();
    let mut roots = RootCertStore::empty();
    for authority in certificates(&listener.client_ca, reading)? {
        roots
            .add(authority)
            .map_err(|error| format!("{authorities} has a certificate that is no authority's: {error}"))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if !listener.crl.as_os_str().is_empty() {
        // As everywhere: who signed it is asked about the client's own certificate, and has to have said something lately.
        builder = builder
            .with_crls(revocation_lists(&listener.crl, reading)?)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
    }
    if listener.client_certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(error) => format!("{} has a broken list: {error:?}", listener.crl.display()),
        error => format!("{authorities} cannot be used: {error}"),
    })?;
    Ok(Some(verifier))
}

fn revocation_lists(path: &Path, reading: &mut Reading) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let found = CertificateRevocationListDer::pem_slice_iter(&reading.bytes(path)?).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| broken(path, &error))?;
    if found.is_empty() { Err(format!("{} has no revocation list (PEM) in it", path.display())) } else { Ok(found) }
}

/// In the order of the configuration.
#[derive(Debug)]
struct Chains(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Chains {
    /// The first that is valid for the name that the client asks for and signs as it can verify; without such a one, the
    /// first of all that signs so.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for_it = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_valid_for(key, name));
        let fitting = self.0.iter().filter(signs).find(is_for_it);
        fitting.or_else(|| self.0.iter().find(signs)).map(Arc::clone)
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().ok().and_then(|der| ParsedCertificate::try_from(der).ok());
    certificate.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

#[cfg(test)]
#[path = "tls_files_tests.rs"]
mod tests;
