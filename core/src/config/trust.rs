//! Which roots are trusted: a vendored OpenSSL has none of its own. A missing file never turns verification off.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};

use super::{SslMode, TlsOptions};
use crate::error::Kind;
use crate::{Error, Result};

/// The root certificate of Yandex's managed PostgreSQL, where its platform keeps it.
pub const PLATFORM_ROOTS: &str = "/usr/local/share/ca-certificates/yandex-internal-ca.crt";

/// Where roots come from when none are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Only what is given: `new Pool`, `new Client` and Rust. A mode that verifies fails without given roots.
    #[default]
    Given,
    /// The files of getPool, runBackup and C.
    Files(Places),
}

/// Where [`Trust::Files`] looks, the first that exists: `certs/root.crt` in the working folder, in the entry module's
/// folder, in its `shared/` and beside it; the platform's file; `.postgresql/root.crt` in the home folder; the system's
/// store; the extra roots.
#[derive(Clone, PartialEq, Eq)]
pub struct Places {
    /// The working folder.
    pub working_folder: Option<PathBuf>,
    /// The folders of the program's entry module, nearest first: Node's `require.main` and the folder whose
    /// `node_modules` holds heys-db.
    pub entry_folders: Vec<PathBuf>,
    /// The platform's file, [`PLATFORM_ROOTS`] unless a test says otherwise.
    pub platform_file: Option<PathBuf>,
    /// The home folder.
    pub home: Option<PathBuf>,
    /// Whether the system's store counts.
    pub system: bool,
    /// PEM, used when nothing else was found (Node's `tls.rootCertificates`).
    pub extra_roots: Option<Arc<[u8]>>,
}

impl Places {
    /// The places of this process; `lookup` is asked for HOME.
    pub fn of_process(lookup: &dyn Fn(&str) -> Option<String>) -> Places {
        Places {
            working_folder: std::env::current_dir().ok(),
            entry_folders: Vec::new(),
            platform_file: Some(PathBuf::from(PLATFORM_ROOTS)),
            home: lookup("HOME").filter(|home| !home.is_empty()).map(PathBuf::from),
            system: true,
            extra_roots: None,
        }
    }

    /// Nowhere.
    pub fn none() -> Places {
        Places {
            working_folder: None,
            entry_folders: Vec::new(),
            platform_file: None,
            home: None,
            system: false,
            extra_roots: None,
        }
    }

    /// The files in the order in which they are looked for.
    pub fn files(&self) -> Vec<PathBuf> {
        let certs = |folder: &Path| folder.join("certs/root.crt");
        let mut files = Vec::new();
        files.extend(self.working_folder.as_deref().map(certs));
        for entry in &self.entry_folders {
            files.extend([certs(entry), certs(&entry.join("shared"))]);
            files.extend(entry.parent().map(certs));
        }
        files.extend(self.platform_file.clone());
        files.extend(self.home.as_deref().map(|home| home.join(".postgresql/root.crt")));
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        files
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("files", &self.files())
            .field("system", &self.system)
            .field("extra_roots", &self.extra_roots.is_some())
            .finish()
    }
}

/// Where the roots in use came from: for messages and for pg_dump's PGSSLROOTCERT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Handed over in memory.
    Given,
    /// This file.
    File(PathBuf),
    /// The system's store: its bundle and its folders of hashed certificates.
    System {
        /// The bundle.
        file: Option<PathBuf>,
        /// The folders.
        folders: Vec<PathBuf>,
    },
    /// [`Places::extra_roots`].
    Extra,
    /// Nothing is verified.
    None,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Given => f.write_str("the given ca"),
            Source::File(file) => write!(f, "{}", file.display()),
            Source::System { file: Some(file), .. } => write!(f, "the system's store ({})", file.display()),
            Source::System { folders, .. } => write!(
                f,
                "the system's store ({})",
                folders.first().map_or("none".into(), |folder| folder.to_string_lossy())
            ),
            Source::Extra => f.write_str("the built-in public roots"),
            Source::None => f.write_str("none"),
        }
    }
}

/// The roots found, as certificates.
#[derive(Clone)]
pub struct Roots {
    /// Where they are from.
    pub source: Source,
    /// Empty for [`Source::None`] and where only hashed folders exist.
    pub certificates: Vec<X509>,
}

impl Roots {
    /// All of them in one PEM text.
    pub fn to_pem(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for certificate in &self.certificates {
            out.extend(certificate.to_pem().map_err(openssl)?);
        }
        Ok(out)
    }
}

impl TlsOptions {
    /// Whether `mode` verifies the server's certificate: `require` does when roots are named (libpq's rule).
    pub fn verifies(&self, mode: SslMode) -> bool {
        match mode {
            SslMode::VerifyCa | SslMode::VerifyFull => true,
            SslMode::Require => self.ca.is_some() || self.ca_file.is_some(),
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::NoVerify => false,
        }
    }
}

/// The roots that `tls` leads to. Reads files. An explicitly named file that is missing is an error, and so is finding
/// none at all; the message says where it looked.
pub fn roots(tls: &TlsOptions) -> Result<Roots> {
    if let Some(pem) = &tls.ca {
        return Ok(Roots {
            certificates: certificates(pem, "the given ca")?,
            source: Source::Given,
        });
    }
    if let Some(file) = &tls.ca_file {
        if file.as_os_str() == "system" {
            return system()?.ok_or_else(|| {
                Error::new(
                    Kind::Config,
                    "sslrootcert=system, but this system has no store of root certificates",
                )
            });
        }
        let pem = read(file, "the root certificate file", "PG_SSLROOTCERT (or sslrootcert)")?;
        return Ok(Roots {
            certificates: certificates(&pem, &file.display().to_string())?,
            source: Source::File(file.clone()),
        });
    }
    let Trust::Files(places) = &tls.trust else {
        return Err(Error::new(
            Kind::Config,
            "the server's certificate is to be verified, but no root certificates were given: pass ca",
        ));
    };
    let files = places.files();
    for file in &files {
        match std::fs::read(file) {
            Ok(pem) => {
                return Ok(Roots {
                    certificates: certificates(&pem, &file.display().to_string())?,
                    source: Source::File(file.clone()),
                });
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                return Err(Error::new(
                    Kind::Config,
                    format!("cannot read the root certificates in {}: {error}", file.display()),
                )
                .with_source(error));
            }
        }
    }
    if places.system
        && let Some(roots) = system()?
    {
        return Ok(roots);
    }
    if let Some(pem) = &places.extra_roots {
        return Ok(Roots {
            certificates: certificates(pem, "the extra roots")?,
            source: Source::Extra,
        });
    }
    let looked: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Err(Error::new(
        Kind::Config,
        format!(
            "no root certificates to verify the server with: looked for {}{}; set PG_SSLROOTCERT to the server's CA file",
            looked.join(", "),
            if places.system {
                " and for the system's store"
            } else {
                ""
            },
        ),
    ))
}

/// Whether there is a system's store, its contents unread.
pub fn has_system_store() -> bool {
    let found = openssl_probe::probe();
    found.cert_file.is_some() || !found.cert_dir.is_empty()
}

/// The system's store, by `SSL_CERT_FILE`, `SSL_CERT_DIR` or the places that distributions use; `None` = there is none.
pub fn system() -> Result<Option<Roots>> {
    let found = openssl_probe::probe();
    let mut certificates = Vec::new();
    if let Some(file) = &found.cert_file {
        let pem = read(file, "the system's root certificates", "SSL_CERT_FILE")?;
        certificates = self::certificates(&pem, &file.display().to_string())?;
    } else {
        for folder in &found.cert_dir {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if let Ok(pem) = std::fs::read(entry.path())
                    && let Ok(found) = X509::stack_from_pem(&pem)
                {
                    certificates.extend(found);
                }
            }
        }
    }
    Ok((!certificates.is_empty()).then_some(Roots {
        source: Source::System {
            file: found.cert_file,
            folders: found.cert_dir,
        },
        certificates,
    }))
}

/// The roots for public services (S3, Telegram): the system's store, else `extra` (PEM, Node's roots); in both cases
/// with the certificates of `bundle` (AWS_CA_BUNDLE) added. A named bundle that is missing is an error.
pub fn public_roots(extra: Option<&[u8]>, bundle: Option<&Path>) -> Result<Roots> {
    let mut roots = match (system()?, extra) {
        (Some(roots), _) => roots,
        (None, Some(pem)) => Roots {
            certificates: certificates(pem, "the extra roots")?,
            source: Source::Extra,
        },
        (None, None) => Roots {
            certificates: Vec::new(),
            source: Source::None,
        },
    };
    if let Some(file) = bundle {
        let pem = read(file, "the CA bundle", "AWS_CA_BUNDLE")?;
        roots
            .certificates
            .extend(certificates(&pem, &file.display().to_string())?);
        roots.source = match roots.source {
            Source::None => Source::File(file.to_owned()),
            other => other,
        };
    }
    match roots.certificates.is_empty() {
        false => Ok(roots),
        true => Err(Error::new(
            Kind::Config,
            "no root certificates for HTTPS: this system has no store (package ca-certificates); install it or set \
             AWS_CA_BUNDLE",
        )),
    }
}

/// A store with these roots.
pub fn store(roots: &Roots) -> Result<X509Store> {
    let mut builder = X509StoreBuilder::new().map_err(openssl)?;
    for certificate in &roots.certificates {
        // A certificate that is listed twice is taken once since OpenSSL 1.1.1.
        builder.add_cert(certificate.clone()).map_err(openssl)?;
    }
    Ok(builder.build())
}

pub(super) fn certificates(pem: &[u8], from: &str) -> Result<Vec<X509>> {
    let found = X509::stack_from_pem(pem).map_err(|error| {
        Error::new(Kind::Config, format!("{from} holds a certificate that cannot be read")).with_source(error)
    })?;
    if found.is_empty() {
        return Err(Error::new(
            Kind::Config,
            format!("{from} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        ));
    }
    Ok(found)
}

pub(super) fn read(file: &Path, what: &str, setting: &str) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        Error::new(
            Kind::Config,
            format!("cannot read {what} {}, named by {setting}: {error}", file.display()),
        )
        .with_source(error)
    })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

pub(crate) fn openssl(error: openssl::error::ErrorStack) -> Error {
    Error::new(Kind::Tls, format!("OpenSSL: {error}")).with_source(error)
}
