//! The bounded way into a worker: commands for its sessions, put in from any thread, taken out on the worker.
//!
//! Commands to close travel apart from the others, because a close that is lost would leave two sessions of one
//! device. Their channel has no bound of its own: `presence` forgets a session when it tells it to close, so there is
//! at most one close for each session of the worker.

use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::mpsc;
use wireglot_model::downlink::CloseReason;
use wireglot_model::limits::MAILBOX_COMMANDS_MAX;
use wireglot_model::{Downlink, SessionId};

/// The sending side: one per worker, cloned wherever a downlink may start.
#[derive(Clone)]
pub struct Mailbox {
    commands: mpsc::Sender<(SessionId, Downlink)>,
    closes: mpsc::UnboundedSender<(SessionId, CloseReason)>,
}

/// The receiving side; it stays on its worker.
pub struct MailboxReceiver {
    commands: mpsc::Receiver<(SessionId, Downlink)>,
    closes: mpsc::UnboundedReceiver<(SessionId, CloseReason)>,
}

/// Why a command was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undelivered {
    /// The worker has fallen behind.
    Full,
    /// The worker has ended.
    Gone,
}

/// A mailbox for one worker.
pub fn mailbox() -> (Mailbox, MailboxReceiver) {
    let (commands_in, commands) = mpsc::channel(MAILBOX_COMMANDS_MAX);
    let (closes_in, closes) = mpsc::unbounded_channel();
    (Mailbox { commands: commands_in, closes: closes_in }, MailboxReceiver { commands, closes })
}

impl Mailbox {
    /// Puts a command for a session of this worker in; waits for nothing.
    pub fn put(&self, session: SessionId, downlink: Downlink) -> Result<(), Undelivered> {
        if let Downlink::Close(reason) = downlink {
            return self.closes.send((session, reason)).map_err(|_| Undelivered::Gone);
        }
        self.commands.try_send((session, downlink)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Undelivered::Full,
            mpsc::error::TrySendError::Closed(_) => Undelivered::Gone,
        })
    }
}

impl MailboxReceiver {
    /// The next command, closes first; `None` when every `Mailbox` is gone.
    pub async fn recv(&mut self) -> Option<(SessionId, Downlink)> {
        poll_fn(|cx| {
            let close = self.closes.poll_recv(cx);
            if let Poll::Ready(Some((session, reason))) = close {
                return Poll::Ready(Some((session, Downlink::Close(reason))));
            }
            match self.commands.poll_recv(cx) {
                Poll::Ready(Some(command)) => Poll::Ready(Some(command)),
                Poll::Ready(None) if close.is_ready() => Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next command if there is one already.
    pub fn try_recv(&mut self) -> Option<(SessionId, Downlink)> {
        match self.closes.try_recv() {
            Ok((session, reason)) => Some((session, Downlink::Close(reason))),
            Err(_none) => self.commands.try_recv().ok(),
        }
    }
}
