//! Certificates as an operator has them: an authority, what it signed for the broker and for clients, and what it took
//! back. Written as PEM into a folder.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// The host name of the broker's second certificate.
pub(crate) const OTHER_HOST: &str = "other.example";

/// Puts there `ca.pem`, `server.pem` (for localhost), `other.pem` (for [`OTHER_HOST`]), `ada.pem` and `eve.pem` (of
/// clients), each with its `.key`, `revoked.crl` (with eve's), and `stranger.pem`, signed by another authority.
pub(crate) fn write(folder: &Path) {
    let ca = authority("Thrum's tests");
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    sign(folder, "server", CertificateParams::new(hosts).unwrap(), &ca);
    sign(folder, "other", CertificateParams::new([OTHER_HOST.to_owned()]).unwrap(), &ca);
    sign(folder, "ada", client("ada", 17), &ca);
    sign(folder, "eve", client("eve", 18), &ca);
    sign(folder, "stranger", client("ada", 19), &authority("somebody else"));
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(18),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2100, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(folder.join("revoked.crl"), list.signed_by(&ca).unwrap().pem().unwrap()).unwrap();
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial.into());
    params
}

fn sign(folder: &Path, name: &str, params: CertificateParams, ca: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}
