//! A server-side RPC: what is asked of a device, and how far it has come.

use serde::{Deserialize, Serialize};

use crate::id::{DeviceId, RpcId};
use crate::time::Timestamp;

/// One RPC. Those that are persistent are stored like this.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RpcRecord {
    /// Identity.
    pub id: RpcId,
    /// Rises from RPC to RPC: the order in which they were asked for.
    pub number: u64,
    /// Of whom it is asked.
    pub device: DeviceId,
    /// When it was asked for.
    pub created: Timestamp,
    /// From then on nobody waits for it.
    pub expires: Timestamp,
    /// What to call.
    pub method: String,
    /// JSON text.
    pub params: String,
    /// No response is waited for.
    pub is_one_way: bool,
    /// How often it is sent again at most, where that was said.
    pub retries: Option<u32>,
    /// Whatever the caller wanted to keep with it; JSON text.
    pub additional_info: Option<String>,
    /// How far it has come.
    pub status: RpcStatus,
    /// What the device said, or what went wrong; JSON text.
    pub response: Option<String>,
}

/// How far an RPC has come (device API §12.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RpcStatus {
    /// Not yet written to the device.
    Queued,
    /// Written, but not acknowledged.
    Sent,
    /// Acknowledged, or written where no acknowledgement is due.
    Delivered,
    /// The device has responded.
    Successful,
    /// Not acknowledged in time; it may be sent again.
    Timeout,
    /// Its time is over.
    Expired,
    /// It could not be delivered, or was not answered.
    Failed,
}

impl RpcRecord {
    /// Whether nothing more will happen to it.
    pub fn is_finished(&self) -> bool {
        match self.status {
            RpcStatus::Successful | RpcStatus::Expired | RpcStatus::Failed => true,
            RpcStatus::Delivered => self.is_one_way,
            RpcStatus::Queued | RpcStatus::Sent | RpcStatus::Timeout => false,
        }
    }

    /// About what it takes in memory and on disk.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 256;
        let texts = [self.additional_info.as_ref(), self.response.as_ref()];
        FIXED
            + self.method.len()
            + self.params.len()
            + texts.iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}
