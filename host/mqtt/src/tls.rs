//! TLS: the server's certificate, and what a client's has to prove in the handshake (device API §3.4).
//!
//! A client is asked for a certificate and may have none. One that it shows is not verified against an authority: the
//! handshake proves that the client has its key and that the chain is one, and the login looks for its hash. Extensions
//! and versions of certificates are not looked at, because many devices in the field have been given careless ones.
//! Not here: who may connect with a certificate (`wireglot_device`).

use std::net::TcpListener;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ntex::io::{Io, Layer};
use ntex::time::Millis;
use ntex_tls::rustls::TlsServerFilter;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig,
    SignatureScheme,
};
use wireglot_device::{Certificate, Dates, PublicKey};
use wireglot_model::Timestamp;
use wireglot_model::limits::{CLIENT_CHAIN_MAX, CONNECT_TIMEOUT_S};

/// A TLS port.
pub struct TlsConfig {
    /// A bound socket.
    pub listener: TcpListener,
    /// What the server shows.
    pub identity: TlsIdentity,
    /// Whether certificates of clients end.
    pub client_dates: Dates,
}

/// A certificate with its key, proven to be usable.
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    ends: Option<Timestamp>,
}

/// Why a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The text of the chain is at fault.
    #[error("the certificate chain cannot be read: it has to be certificates in PEM, the server's own first")]
    Chain(#[source] pem::Error),
    /// The text of the key is at fault.
    #[error("the private key cannot be read: it has to be one unencrypted key in PEM")]
    Key(#[source] pem::Error),
    /// They are what they have to be, but not for each other, or of a kind that is not served.
    #[error("the certificate and the private key cannot be used together")]
    Unusable(#[source] Error),
}

/// Puts another certificate in force for the connections that begin from then on. All clones are the same.
#[derive(Clone)]
pub struct TlsSwitch(Arc<ArcSwap<ServerConfig>>);

/// What the listener holds of a TLS port.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) switch: TlsSwitch,
    pub(crate) client_dates: Dates,
}

impl TlsIdentity {
    /// Reads a chain, the server's certificate first, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(TlsError::Chain)?;
        let leaf = chain.first().ok_or(TlsError::Chain(pem::Error::NoItemsFound))?;
        let ends = Certificate::parse(leaf).ok().map(|certificate| certificate.not_after());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let config = server_config(chain, key).map_err(TlsError::Unusable)?;
        Ok(Self { config: Arc::new(config), ends })
    }

    /// When its certificate ends, where that can be read.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    // Named, so that no other library's choice of one can become ours.
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let clients = AnyClient { algorithms: provider.signature_verification_algorithms };
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(clients))
        .with_single_cert(chain, key)
}

impl TlsSwitch {
    pub(crate) fn new(identity: TlsIdentity) -> Self {
        Self(Arc::new(ArcSwap::new(identity.config)))
    }

    /// Sessions that are under way keep what they began with; none of the old certificate's is resumed.
    pub fn replace(&self, identity: TlsIdentity) {
        self.0.store(identity.config);
    }
}

impl Tls {
    /// Serves the handshake of a connection, within the time that a whole CONNECT has.
    pub(crate) async fn accept(&self, io: Io) -> std::io::Result<Io<Layer<TlsServerFilter>>> {
        let within = Millis(u32::from(CONNECT_TIMEOUT_S) * 1_000);
        TlsServerFilter::create(io, self.switch.0.load_full(), within).await
    }
}

/// Lets in whoever has the key of the certificate that they show.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Each certificate is signed by the next one. The last one is signed by nobody who is here.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() >= CLIENT_CHAIN_MAX {
            return Err(Error::General(format!("a chain has at most {CLIENT_CHAIN_MAX} certificates")));
        }
        let mut signed = read(end_entity)?;
        for issuer in intermediates {
            let issuer = read(issuer)?;
            self.verify_signed_by(&signed, &issuer.key)?;
            signed = issuer;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = read(certificate)?.key;
        let scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        let (_, algorithms) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // The scheme does not tell the curve in TLS 1.2; the key does.
        let fits =
            algorithms.iter().find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm);
        let is_valid = fits.is_some_and(|algorithm| {
            algorithm.verify_signature(key.bits, message, signature.signature()).is_ok()
        });
        if is_valid { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad_signature()) }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(read(certificate)?.key.info);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl AnyClient {
    fn verify_signed_by(&self, certificate: &Certificate<'_>, issuer: &PublicKey<'_>) -> Result<(), Error> {
        let mut fitting = self.algorithms.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id().as_ref() == certificate.signature_algorithm
                && algorithm.public_key_alg_id().as_ref() == issuer.algorithm
        });
        let is_signed = fitting.any(|algorithm| {
            algorithm.verify_signature(issuer.bits, certificate.signed, certificate.signature).is_ok()
        });
        if is_signed { Ok(()) } else { Err(bad_signature()) }
    }
}

fn read<'a>(der: &'a CertificateDer<'_>) -> Result<Certificate<'a>, Error> {
    Certificate::parse(der).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn bad_signature() -> Error {
    Error::InvalidCertificate(CertificateError::BadSignature)
}
