//! What a connection passes before its first packet: the PROXY header, the limits of its address, TLS (device API §1).

use std::net::IpAddr;
use std::time::Instant;

use ntex::io::{Io, types};
use ntex::time::{Seconds, timeout};
use ntex_tls::rustls::PeerCertChain;
use rustls::pki_types::CertificateDer;
use wireglot_device::Dates;
use wireglot_model::limits::CONNECT_TIMEOUT_S;

use crate::addresses::{Addresses, WrongLogins};
use crate::connect::{Broken, Refusal};
use crate::preface::{Beginning, FirstPacket, Version};
use crate::proxy::{ProxyHeader, Source};
use crate::tls::Tls;
use crate::worker::Worker;
use crate::{v3, v5};

/// What all connections pass.
pub(crate) struct Entrance {
    /// Each connection begins with a PROXY header.
    pub(crate) is_proxied: bool,
    /// Wrong logins are counted.
    pub(crate) addresses: Option<Addresses>,
}

/// Who is at the other end, as far as that is known before the CONNECT.
pub(crate) struct Visitor {
    /// Known where something follows from it: limits of addresses, or log lines.
    pub(crate) address: Option<IpAddr>,
    /// The chain of certificates that the client has shown, its own first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) dates: Dates,
    /// Its CONNECT asks for no session beyond the connection; as far as there is a will in it.
    pub(crate) is_clean: bool,
}

impl Entrance {
    pub(crate) fn new(is_proxied: bool, limit: Option<WrongLogins>) -> Self {
        Self { is_proxied, addresses: limit.map(Addresses::new) }
    }

    /// A login from this address was refused, whatever the device is told of it.
    pub(crate) fn refused(&self, address: Option<IpAddr>, refusal: Refusal) {
        tracing::debug!(?address, ?refusal, "Login refused.");
        if refusal.is_wrong_login() {
            self.wrong(address);
        }
    }

    /// What counts as a wrong login has happened.
    pub(crate) fn wrong(&self, address: Option<IpAddr>) {
        if let Some((addresses, address)) = self.addresses.as_ref().zip(address)
            && addresses.wrong(address, Instant::now())
        {
            tracing::warn!(%address, "Too many wrong logins in a row; connections from there are dropped for a while.");
        }
    }

    /// Whether connections from this address are dropped now.
    pub(crate) fn is_blocked(&self, address: Option<IpAddr>) -> bool {
        let counted = self.addresses.as_ref().zip(address);
        counted.is_some_and(|(addresses, address)| addresses.is_blocked(address, Instant::now()))
    }

    /// A login from this address was right.
    pub(crate) fn welcomed(&self, address: Option<IpAddr>) {
        if let Some((addresses, address)) = self.addresses.as_ref().zip(address) {
            addresses.right(address);
        }
    }

    /// Whose connection this is, provided that it may go on.
    async fn greet(&self, worker: &Worker, io: &Io) -> Result<Option<IpAddr>, Broken> {
        let said = if self.is_proxied { said_by_proxy(io).await? } else { Source::Unsaid };
        let address = match said {
            Source::Address(address) => Some(address),
            // The call into the kernel is spared where nobody asks.
            Source::Unsaid if self.addresses.is_some() || tracing::enabled!(tracing::Level::DEBUG) => {
                io.query::<types::PeerAddr>().get().map(|types::PeerAddr(peer)| peer.ip())
            }
            Source::Unsaid => None,
        };
        if self.is_blocked(address) {
            worker.counters.connections_blocked.count();
            return Err(Broken);
        }
        Ok(address)
    }
}

async fn said_by_proxy(io: &Io) -> Result<Source, Broken> {
    match io.recv(&ProxyHeader).await {
        Ok(Some(source)) => Ok(source),
        Ok(None) => Err(Broken),
        Err(error) => {
            tracing::debug!(?error, "The connection has no PROXY header.");
            Err(Broken)
        }
    }
}

/// Serves a connection of a plain port.
pub(crate) async fn serve(worker: &std::rc::Rc<Worker>, io: &Io) -> Result<(), Broken> {
    let arrival = async {
        let address = worker.entrance().greet(worker, io).await?;
        let Beginning { version, is_clean } = first_packet(io).await?;
        Ok((Visitor { address, certificates: Vec::new(), dates: Dates::Count, is_clean }, version))
    };
    let (visitor, version) = timeout(Seconds(CONNECT_TIMEOUT_S), arrival).await.map_err(|()| Broken)??;
    match version {
        Version::V3 => v3::serve(worker, io, visitor).await,
        Version::V5 => v5::serve(worker, io, visitor).await,
    }
}

/// Serves a connection of a TLS port.
pub(crate) async fn serve_tls(worker: &std::rc::Rc<Worker>, io: Io, tls: Tls) -> Result<(), Broken> {
    let arrival = async {
        let address = worker.entrance().greet(worker, &io).await?;
        let io = match tls.accept(io).await {
            Ok(io) => io,
            Err(error) => {
                worker.counters.handshakes_failed.count();
                tracing::debug!(?address, %error, "The TLS handshake failed.");
                return Err(Broken);
            }
        };
        let Beginning { version, is_clean } = first_packet(&io).await?;
        let shown = io.query::<PeerCertChain<'static>>();
        let certificates = shown.as_ref().map(|PeerCertChain(chain)| chain.clone()).unwrap_or_default();
        Ok((io, Visitor { address, certificates, dates: tls.client_dates, is_clean }, version))
    };
    // Of its own, so that a session does not carry the memory of its handshake.
    let arrival = Box::pin(timeout(Seconds(CONNECT_TIMEOUT_S), arrival));
    let (io, visitor, version) = arrival.await.map_err(|()| Broken)??;
    match version {
        Version::V3 => v3::serve(worker, &io, visitor).await,
        Version::V5 => v5::serve(worker, &io, visitor).await,
    }
}

async fn first_packet<F>(io: &Io<F>) -> Result<Beginning, Broken> {
    match io.recv(&FirstPacket).await {
        Ok(Some(beginning)) => Ok(beginning),
        Ok(None) | Err(_) => Err(Broken),
    }
}
