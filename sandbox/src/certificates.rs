//! An own certificate authority, with good and bad certificates for loopback servers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509NameBuilder};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Which certificate a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ServerCertificate {
    /// Signed by the CA for localhost, 127.0.0.1 and ::1.
    #[default]
    Good,
    /// As the good one, but ended yesterday.
    Expired,
    /// Valid, but for db.example.invalid only.
    WrongHost,
    /// For localhost, but its issuer is itself.
    SelfSigned,
}

impl ServerCertificate {
    pub(crate) const ALL: [ServerCertificate; 4] = [
        ServerCertificate::Good,
        ServerCertificate::Expired,
        ServerCertificate::WrongHost,
        ServerCertificate::SelfSigned,
    ];

    pub(crate) fn file_stem(self) -> &'static str {
        match self {
            ServerCertificate::Good => "server",
            ServerCertificate::Expired => "expired",
            ServerCertificate::WrongHost => "wrong-host",
            ServerCertificate::SelfSigned => "self-signed",
        }
    }
}

/// The files a client needs, in a folder that only the caller may read.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// The CA in PEM.
    pub ca: String,
    /// The CA's file.
    pub ca_path: PathBuf,
    /// File of a CA that has signed nothing in use here.
    pub other_ca_path: PathBuf,
    /// File of a client certificate for the role `heys_cert`.
    pub client_cert_path: PathBuf,
    /// File of its key (mode 0600).
    pub client_key_path: PathBuf,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) cert: X509,
    pub(crate) key: PKey<Private>,
}

impl Identity {
    /// Writes `<folder>/<stem>.crt` and `<folder>/<stem>.key` (mode 0600).
    pub(crate) fn write(&self, folder: &Path, stem: &str) -> Result<(PathBuf, PathBuf)> {
        let cert = folder.join(format!("{stem}.crt"));
        let key = folder.join(format!("{stem}.key"));
        write_private(&cert, &self.cert.to_pem()?)?;
        write_private(&key, &self.key.private_key_to_pem_pkcs8()?)?;
        Ok((cert, key))
    }
}

/// A certificate authority.
pub(crate) struct Authority {
    root: Identity,
}

impl Authority {
    /// The CA of this process; all its servers show certificates of this one.
    pub(crate) fn shared() -> Result<&'static Authority> {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        match SHARED.get() {
            Some(authority) => Ok(authority),
            None => {
                let made = Authority::new("heys sandbox CA")?;
                Ok(SHARED.get_or_init(|| made))
            }
        }
    }

    fn new(name: &str) -> Result<Authority> {
        Ok(Authority {
            root: issue(name, Use::Authority, (-DAY_SECONDS, 30 * DAY_SECONDS), None)?,
        })
    }

    pub(crate) fn pem(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.root.cert.to_pem()?).into_owned())
    }

    /// A server's certificate and key.
    pub(crate) fn server(&self, kind: ServerCertificate) -> Result<Identity> {
        let valid = (-DAY_SECONDS, 30 * DAY_SECONDS);
        match kind {
            ServerCertificate::Good => issue("localhost", Use::Loopback, valid, Some(&self.root)),
            ServerCertificate::Expired => issue(
                "localhost",
                Use::Loopback,
                (-3 * DAY_SECONDS, -DAY_SECONDS),
                Some(&self.root),
            ),
            ServerCertificate::WrongHost => issue("db.example.invalid", Use::Elsewhere, valid, Some(&self.root)),
            ServerCertificate::SelfSigned => issue("localhost", Use::Loopback, valid, None),
        }
    }

    /// Writes what a client needs into `folder`.
    pub(crate) fn client_files(&self, folder: &Path, client: &str) -> Result<Certificates> {
        let ca_path = folder.join("ca.crt");
        let other_ca_path = folder.join("other-ca.crt");
        write_private(&ca_path, self.pem()?.as_bytes())?;
        write_private(
            &other_ca_path,
            Authority::new("heys sandbox, another CA")?.pem()?.as_bytes(),
        )?;
        let (client_cert_path, client_key_path) =
            issue(client, Use::Client, (-DAY_SECONDS, 30 * DAY_SECONDS), Some(&self.root))?.write(folder, "client")?;
        Ok(Certificates {
            ca: self.pem()?,
            ca_path,
            other_ca_path,
            client_cert_path,
            client_key_path,
        })
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Authority,
    Loopback,
    Elsewhere,
    Client,
}

/// One certificate with a new P-256 key, valid between two times in seconds from now; without issuer self-signed.
fn issue(name: &str, purpose: Use, valid: (i64, i64), issuer: Option<&Identity>) -> Result<Identity> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.cert.subject_name()))?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(&*at(valid.0)?)?;
    builder.set_not_after(&*at(valid.1)?)?;
    let issuer_cert = issuer.map(|issuer| &*issuer.cert);
    builder.append_extension(SubjectKeyIdentifier::new().build(&builder.x509v3_context(issuer_cert, None))?)?;
    if purpose == Use::Authority {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    } else {
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        if issuer.is_some() {
            let mut identifier = AuthorityKeyIdentifier::new();
            identifier.keyid(true);
            builder.append_extension(identifier.build(&builder.x509v3_context(issuer_cert, None))?)?;
        }
        let mut usage = ExtendedKeyUsage::new();
        if purpose == Use::Client {
            usage.client_auth()
        } else {
            usage.server_auth()
        };
        builder.append_extension(usage.build()?)?;
    }
    let mut names = SubjectAlternativeName::new();
    match purpose {
        Use::Loopback => names.dns("localhost").ip("127.0.0.1").ip("::1"),
        _ => names.dns(name),
    };
    if matches!(purpose, Use::Loopback | Use::Elsewhere) {
        builder.append_extension(names.build(&builder.x509v3_context(issuer_cert, None))?)?;
    }
    builder.sign(issuer.map_or(&*key, |issuer| &*issuer.key), MessageDigest::sha256())?;
    Ok(Identity {
        cert: builder.build(),
        key,
    })
}

fn at(seconds_from_now: i64) -> Result<openssl::asn1::Asn1Time> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context(|| "clock".into())?;
    Ok(Asn1Time::from_unix(now.as_secs() as i64 + seconds_from_now)?)
}
