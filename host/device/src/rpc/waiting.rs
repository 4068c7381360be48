//! Waiting for the outcome of an RPC. Whoever stops waiting takes it back: nobody would hear of it, and others want its
//! place.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wireglot_model::{DeviceId, Timestamp};

use super::RpcOutcome;
use crate::Devices;

/// The outcome that is to come. Dropped before, the RPC is withdrawn: what the device has heard of it is not answered
/// any more, and what is not on its way yet is not sent.
pub struct RpcWaiting {
    outcome: oneshot::Receiver<RpcOutcome>,
    /// As long as the RPC is there: where, under which request id, and when it came.
    place: Option<(Devices, DeviceId, i32, Timestamp)>,
}

impl RpcWaiting {
    pub(super) fn new(
        outcome: oneshot::Receiver<RpcOutcome>,
        place: Option<(Devices, DeviceId, i32, Timestamp)>,
    ) -> Self {
        Self { outcome, place }
    }
}

impl Future for RpcWaiting {
    type Output = Result<RpcOutcome, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.outcome).poll(context);
        if outcome.is_ready() {
            self.place = None;
        }
        outcome
    }
}

impl Drop for RpcWaiting {
    fn drop(&mut self) {
        if let Some((devices, device, id, came)) = self.place.take() {
            devices.step(device, came, |_| {}, |queue, rules, out| queue.withdraw(id, rules, out));
        }
    }
}

impl fmt::Debug for RpcWaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.place.as_ref().map(|(_, _, id, _)| id);
        f.debug_struct("RpcWaiting").field("id", &id).finish_non_exhaustive()
    }
}
