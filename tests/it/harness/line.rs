//! The bytes of a connection, with and without TLS, and the certificates that both sides show.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use wireglot_load::wire;

/// A connection.
pub(crate) enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp().set_read_timeout(timeout)
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp().set_write_timeout(timeout)
    }

    /// The next packet: its first byte and its body; none when the connection has ended. `partial` is what has been read
    /// of the packets after it.
    #[track_caller]
    pub(crate) fn packet(&mut self, partial: &mut Vec<u8>, patience: Duration) -> Option<(u8, Vec<u8>)> {
        let start = Instant::now();
        loop {
            if let Some(raw) = wire::first_packet(partial) {
                let packet = (raw.head, raw.body.to_vec());
                let len = raw.len;
                partial.drain(..len);
                return Some(packet);
            }
            let rest = patience.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
            self.set_read_timeout(Some(rest)).expect("an open socket");
            let mut bytes = [0; 65_536];
            match self.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => partial.extend(bytes.iter().take(read)),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the server neither answered nor closed within {patience:?}: {error}"),
            }
        }
    }

    /// The certificate that the server has shown.
    pub(crate) fn server_certificate(&self) -> Option<CertificateDer<'static>> {
        match self {
            Line::Plain(_) => None,
            Line::Tls(stream) => stream.conn.peer_certificates()?.first().cloned(),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Line::Plain(stream) => stream,
            Line::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.read(buffer),
            Line::Tls(stream) => match stream.read(buffer) {
                // The server may end a connection without the farewell of TLS; what it sent has arrived.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Line::Plain(stream) => stream.write(bytes),
            Line::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Plain(stream) => stream.flush(),
            Line::Tls(stream) => stream.flush(),
        }
    }
}

/// A TLS client, with what it shows and speaks.
#[derive(Clone)]
pub(crate) struct TlsClient {
    pub(crate) version: &'static SupportedProtocolVersion,
    shown: Option<Arc<CertifiedKey>>,
}

impl TlsClient {
    /// Without a certificate.
    pub(crate) fn bare(version: &'static SupportedProtocolVersion) -> Self {
        Self { version, shown: None }
    }

    /// With a chain, its own certificate first, and a key that need not be its own.
    pub(crate) fn showing(
        version: &'static SupportedProtocolVersion,
        chain: &[&Identity],
        key: &Identity,
    ) -> Self {
        let chain = chain.iter().map(|identity| identity.der.clone()).collect();
        let key = PrivateKeyDer::try_from(key.key.serialize_der()).expect("PKCS 8");
        let key = ring::sign::any_supported_type(&key).expect("a key of a known kind");
        Self { version, shown: Some(Arc::new(CertifiedKey::new(chain, key))) }
    }

    /// Shakes hands. In TLS 1.3 a server that does not want the certificate says so only afterwards.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(super::TIMEOUT))?;
        self.over(stream)
    }

    /// The same on a connection that is there.
    pub(crate) fn over(&self, mut stream: TcpStream) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        let provider = Arc::new(ring::default_provider());
        let trust = Arc::new(AnyServer(provider.clone()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .expect("a version that the library has")
            .dangerous()
            .with_custom_certificate_verifier(trust);
        let mut config = match &self.shown {
            None => config.with_no_client_auth(),
            Some(shown) => config.with_client_cert_resolver(Arc::new(Shown(shown.clone()))),
        };
        config.enable_sni = false;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a usable configuration");
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Line::Tls(Box::new(StreamOwned::new(connection, stream))))
    }
}

/// Shows a certificate whatever the server asks for.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Trusts every server; which certificate it has shown is looked at by the stories.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate with its key.
pub(crate) struct Identity {
    params: CertificateParams,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    key: KeyPair,
}

impl Identity {
    /// Signed by itself, and valid today.
    pub(crate) fn new(common_name: &str) -> Self {
        Self::between(common_name, 2020, 2120)
    }

    /// Signed by itself, and valid from the beginning of one year to that of another.
    pub(crate) fn between(common_name: &str, first: i32, last: i32) -> Self {
        let params = params(common_name, first, last);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { params, der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// Signed by this one.
    pub(crate) fn sign(&self, common_name: &str) -> Self {
        self.sign_between(common_name, 2020, 2120)
    }

    /// The same with years.
    pub(crate) fn sign_between(&self, common_name: &str, first: i32, last: i32) -> Self {
        let params = params(common_name, first, last);
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        Self { params, der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

fn params(common_name: &str, first: i32, last: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1));
    params
}
