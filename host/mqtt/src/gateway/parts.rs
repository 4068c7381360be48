//! One publish of a gateway, part by part: what becomes of each, and what of them is kept.

use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wireglot_codec::{envelope, native};
use wireglot_device::{AcceptError, Charge, ChildProfile, DeviceHandle, Parts};
use wireglot_model::gateway::{GatewayPart, GatewaySaid, PartBody, RawElement};
use wireglot_model::limits::{GATEWAY_FRAMES_MAX, GATEWAY_LETTERS_MAX};
use wireglot_model::{Decoded, Fault, Measurement, Timestamp, Uplink, UplinkBody};
use wireglot_proto as proto;
use wireglot_route::{Format, GatewayRoute, GatewayUplink, gateway_raw_topic};

use super::{Reply, Verdict};
use crate::children::{self, Child, Unmet};
use crate::limit;
use crate::profile::{ProfileView, Unread};
use crate::publish::{Incoming, Owed, Sender, fail, take_parts};
use crate::session::Session;
use crate::trace::{Seen, Told, Watch};

/// A publish that is being taken apart.
pub(super) struct Publish<'a> {
    session: &'a Session,
    view: &'a ProfileView,
    incoming: &'a Incoming<'a>,
    received: Timestamp,
    watch: Option<Watch>,
    kept: Parts,
    refused: Vec<Refused>,
    /// Frames that were decoded so far.
    frames: usize,
    /// What the first part that was refused has decided.
    verdict: Option<Verdict>,
    reply: Option<Reply>,
    /// We could not do our part.
    has_failed: bool,
}

/// A part that is not kept, but for a dead letter.
struct Refused {
    /// Its place in the publish; `None`: it is the whole.
    part: Option<usize>,
    /// Whose it is; `None`: there is no such device.
    device: Option<DeviceHandle>,
    /// A frame for the device's own codec, and when it was received.
    frame: Option<(Vec<u8>, Timestamp)>,
    unread: Unread,
}

/// A rate limit was passed: what follows is not taken.
struct Limited;

impl<'a> Publish<'a> {
    pub(super) fn new(
        session: &'a Session,
        view: &'a ProfileView,
        incoming: &'a Incoming<'a>,
        received: Timestamp,
    ) -> Self {
        Self {
            session,
            view,
            incoming,
            received,
            watch: Watch::begin(session.worker.ingest.bus()),
            kept: Parts::default(),
            refused: Vec::new(),
            frames: 0,
            verdict: None,
            reply: None,
            has_failed: false,
        }
    }

    /// Nothing of it can be used.
    pub(super) fn refuse_whole(&mut self, verdict: Verdict, reason: String) {
        self.refuse(None, None, Unread::refused(reason), Some(verdict));
    }

    /// Does what the gateway says. Where a rate limit is passed, what was taken before it is kept.
    pub(super) fn take(&mut self, said: GatewaySaid) {
        // Whoever was limited has noted it.
        let _noted = self.try_take(said);
    }

    fn try_take(&mut self, said: GatewaySaid) -> Result<(), Limited> {
        match said {
            GatewaySaid::Connect { device, profile } => {
                let profile = profile.as_deref().map_or(ChildProfile::Default, ChildProfile::Named);
                if let Some(child) = self.meet(None, &device, profile)? {
                    child.hear(&self.session.worker, self.received);
                }
            }
            GatewaySaid::Disconnect { device } => children::leave(self.session, &device),
            GatewaySaid::Parts(parts) => {
                for (index, part) in parts.into_iter().enumerate() {
                    self.part(index, part)?;
                }
            }
            GatewaySaid::AttributeRequest(request) => match self.charged(&request.device)? {
                Some(child) => self.reply = Some(Reply::Attributes(child, request)),
                // Of an attribute request this is told in another way (gateway API §4.2).
                None if self.verdict == Some(Verdict::Unresolved) => {
                    self.verdict = Some(Verdict::BadStructure);
                }
                None => {}
            },
            GatewaySaid::RpcResponse { device, id, payload } => {
                if let Some(child) = self.charged(&device)? {
                    let body = UplinkBody::RpcResponse { id, payload };
                    self.keep(None, &child, Uplink { child: None, body });
                }
            }
        }
        Ok(())
    }

    /// Takes a frame of the device of this name.
    pub(super) fn raw(&mut self, device: &str) {
        let Ok(Some(child)) = self.meet(None, device, ChildProfile::Default) else { return };
        let own = self.session.worker.view(child.device.profile());
        let frame = self.incoming.payload.to_vec();
        let _noted = self.frame(None, &child, &own, self.received, frame);
    }

    fn part(&mut self, index: usize, part: GatewayPart) -> Result<(), Limited> {
        let GatewayPart { device, body } = part;
        let Some(child) = self.meet(Some(index), &device, ChildProfile::Default)? else { return Ok(()) };
        child.hear(&self.session.worker, self.received);
        match body {
            Err(reason) => {
                let verdict = Some(Verdict::BadData);
                self.refuse(Some(index), Some(&child.device), Unread::refused(reason), verdict);
            }
            Ok(PartBody::Attributes(samples)) => {
                self.charged_part(index, &child, UplinkBody::Attributes(samples))?;
            }
            Ok(PartBody::Claim { secret, duration_ms }) => {
                self.charged_part(index, &child, UplinkBody::Claim { secret, duration_ms })?;
            }
            Ok(PartBody::Telemetry { measurements, frames, transits }) => {
                if let Some(children) = self.session.children.get().filter(|_| !transits.is_empty()) {
                    children.latencies.borrow_mut().note(transits, self.received);
                }
                self.telemetry(index, &child, measurements, frames)?;
            }
        }
        Ok(())
    }

    fn telemetry(
        &mut self,
        index: usize,
        child: &Child,
        mut measurements: Vec<Measurement>,
        mut frames: Vec<RawElement>,
    ) -> Result<(), Limited> {
        let own = (!frames.is_empty()).then(|| self.session.worker.view(child.device.profile()));
        let own = own.filter(|own| own.codec.is_some());
        if own.is_none() {
            measurements.extend(frames.drain(..).map(|frame| frame.otherwise));
            measurements.retain(|measurement| !measurement.samples.is_empty());
        }
        if !measurements.is_empty() || frames.is_empty() {
            self.charged_part(index, child, UplinkBody::Telemetry(measurements))?;
        }
        let Some(own) = own else { return Ok(()) };
        for RawElement { ts, base64, .. } in frames {
            if self.frames >= GATEWAY_FRAMES_MAX {
                let reason =
                    format!("one publish has at most {GATEWAY_FRAMES_MAX} frames: the rest is not decoded");
                self.refuse(Some(index), Some(&child.device), Unread::refused(reason), Some(Verdict::NoRoom));
                break;
            }
            self.frames += 1;
            match BASE64_STANDARD.decode(&base64) {
                Ok(frame) => {
                    let received = envelope::received_at(ts, self.received);
                    self.frame(Some(index), child, &own, received, frame)?;
                }
                Err(error) => {
                    let unread = Unread::refused(format!("'raw' is not base64: {error}"));
                    self.refuse(Some(index), Some(&child.device), unread, Some(Verdict::BadData));
                }
            }
        }
        Ok(())
    }

    /// The sub-session of a device; `None` where there is none, which is noted.
    fn meet(
        &mut self,
        part: Option<usize>,
        name: &str,
        profile: ChildProfile<'_>,
    ) -> Result<Option<Rc<Child>>, Limited> {
        match children::meet(self.session, name, profile, None) {
            Ok(child) => {
                // Whatever becomes of what it says: it may have been made just now.
                self.session.worker.ingest.add_device(&mut self.kept, &child.device);
                Ok(Some(child))
            }
            Err(Unmet::Limited) => Err(self.limited(name)),
            Err(Unmet::Refused(error)) => {
                let verdict = match error.fault() {
                    Fault::Quota => Verdict::NoRoom,
                    Fault::Device | Fault::Denied | Fault::Codec | Fault::Host => Verdict::Unresolved,
                };
                self.refuse(part, None, Unread::not_accepted(&error, None), Some(verdict));
                Ok(None)
            }
        }
    }

    /// The same for what counts as one message without values.
    fn charged(&mut self, name: &str) -> Result<Option<Rc<Child>>, Limited> {
        let child = self.meet(None, name, ChildProfile::Default)?;
        if let Some(child) = &child {
            child.hear(&self.session.worker, self.received);
            self.charge(child, Charge::Message)?;
        }
        Ok(child)
    }

    fn charge(&mut self, child: &Child, charge: Charge) -> Result<(), Limited> {
        let charged = limit::charge_child(self.session, Some(&child.device), charge);
        charged.map_err(|_| self.limited(&child.name))
    }

    fn charged_part(&mut self, index: usize, child: &Child, body: UplinkBody) -> Result<(), Limited> {
        let uplink = Uplink { child: None, body };
        self.charge(child, Charge::of([&uplink]))?;
        self.keep(Some(index), child, uplink);
        Ok(())
    }

    fn limited(&mut self, device: &str) -> Limited {
        // It ends the session, whatever was wrong before.
        self.verdict = Some(Verdict::Limited);
        self.reply = Some(Reply::Limited(device.to_owned()));
        Limited
    }

    fn keep(&mut self, part: Option<usize>, child: &Child, uplink: Uplink) {
        let decoded = Decoded { uplinks: vec![uplink], warnings: Vec::new() };
        let (device, ingest) = (&child.device, &self.session.worker.ingest);
        let told = Told { device, view: self.view, incoming: self.incoming, received: self.received };
        let seen = self.watch.and_then(|watch| watch.decoded(ingest.bus(), &told, &decoded, None));
        match ingest.add(&mut self.kept, device, self.received, None, decoded, None) {
            Ok(()) => Seen::tell(seen, ingest.bus()),
            Err(error) => self.not_accepted(part, device, &error),
        }
    }

    fn not_accepted(&mut self, part: Option<usize>, device: &DeviceHandle, error: &AcceptError) {
        let verdict = Verdict::of_part(error.fault());
        self.refuse(part, Some(device), Unread::not_accepted(error, None), verdict);
    }

    /// Takes a frame for the codec of the device's own profile.
    fn frame(
        &mut self,
        part: Option<usize>,
        child: &Child,
        own: &ProfileView,
        received: Timestamp,
        payload: Vec<u8>,
    ) -> Result<(), Limited> {
        child.hear(&self.session.worker, self.received);
        child.speaks_raw.set(true);
        let (device, ingest) = (&child.device, &self.session.worker.ingest);
        let topic = gateway_raw_topic(&child.name);
        let incoming = Incoming { topic: &topic, payload: &payload, ..*self.incoming };
        let told = Told { device, view: own, incoming: &incoming, received };
        let unread = match own.decode_brought(&self.session.worker, device, &incoming, received, &[]) {
            Ok((decoded, codec)) => {
                self.charge(child, Charge::of(&decoded.uplinks))?;
                let seen =
                    self.watch.and_then(|watch| watch.decoded(ingest.bus(), &told, &decoded, Some(&codec)));
                let raw = own.keeps_raw.then(|| incoming.raw(own, None));
                match ingest.add(&mut self.kept, device, received, Some(&codec), decoded, raw) {
                    Ok(()) => {
                        Seen::tell(seen, ingest.bus());
                        return Ok(());
                    }
                    Err(error) => Unread::not_accepted(&error, Some(codec)),
                }
            }
            Err(unread) => unread,
        };
        if let Some(watch) = self.watch {
            watch.failed(ingest.bus(), &told, &unread);
        }
        self.note(Verdict::of_part(unread.fault), unread.fault);
        let frame = Some((payload, received));
        self.refused.push(Refused { part, device: Some(device.clone()), frame, unread });
        Ok(())
    }

    fn refuse(
        &mut self,
        part: Option<usize>,
        device: Option<&DeviceHandle>,
        unread: Unread,
        verdict: Option<Verdict>,
    ) {
        if let Some(watch) = self.watch {
            let device = device.unwrap_or(&self.session.device);
            let told = Told { device, view: self.view, incoming: self.incoming, received: self.received };
            watch.failed(self.session.worker.ingest.bus(), &told, &unread);
        }
        self.note(verdict, unread.fault);
        self.refused.push(Refused { part, device: device.cloned(), frame: None, unread });
    }

    fn note(&mut self, verdict: Option<Verdict>, fault: Fault) {
        self.has_failed |= fault == Fault::Host;
        self.verdict = self.verdict.or(verdict);
    }

    /// Gives it all to the store.
    pub(super) fn finish(mut self, uplink: GatewayUplink<'_>, owed: Owed) {
        let on_failure = self.view.on_failure(self.incoming.qos);
        if self.has_failed {
            return fail(&owed);
        }
        self.keep_rest(uplink);
        self.bury(uplink == GatewayUplink::Call(GatewayRoute::Telemetry));
        let verdict = self.verdict.unwrap_or(Verdict::Taken);
        take_parts(self.session, self.kept, verdict, on_failure, self.reply, owed);
    }

    /// What a rate limit has cut off is acknowledged in MQTT 3.1.1, so it is kept; questions are only asked again.
    fn keep_rest(&mut self, uplink: GatewayUplink<'_>) {
        let Some(Reply::Limited(device)) = &self.reply else { return };
        match uplink {
            GatewayUplink::Raw(_)
            | GatewayUplink::Call(
                GatewayRoute::Telemetry
                | GatewayRoute::Attributes
                | GatewayRoute::RpcResponse
                | GatewayRoute::Claim,
            ) => {
                let reason = format!(
                    "a rate limit was passed at the device '{device}'; what is said before it is taken"
                );
                self.refuse(None, None, Unread::refused(reason), None);
            }
            GatewayUplink::Call(
                GatewayRoute::Connect | GatewayRoute::Disconnect | GatewayRoute::AttributeRequest,
            ) => {}
        }
    }

    /// Makes a dead letter of each refused part, or one of all where there are many.
    fn bury(&mut self, is_telemetry: bool) {
        let mut refused = std::mem::take(&mut self.refused);
        if refused.iter().filter(|one| one.frame.is_none()).count() > GATEWAY_LETTERS_MAX {
            // Frames can be decoded again, so each is a letter; there are no more of them than there may be in a publish.
            let (frames, together) = refused.into_iter().partition(|one| one.frame.is_some());
            self.bury_together(together);
            refused = frames;
        }
        let wanted: Vec<usize> =
            refused.iter().filter(|one| one.frame.is_none()).filter_map(|one| one.part).collect();
        let payload = self.incoming.payload;
        let mut payloads = match wanted.is_empty() {
            true => Vec::new().into_iter(),
            false if self.view.dialect.reads(Format::Profile) => {
                proto::gateway_part_payloads(payload, &wanted).into_iter()
            }
            false => native::gateway_part_payloads(payload, is_telemetry, &wanted).into_iter(),
        };
        for Refused { part, device, frame, unread } in refused {
            match (frame, device) {
                (Some((frame, received)), Some(device)) => self.bury_frame(&device, &frame, received, unread),
                (_, device) => {
                    let of_part = part.and_then(|_| payloads.next());
                    self.letter(device.as_ref(), of_part.as_deref().unwrap_or(payload), unread);
                }
            }
        }
    }

    fn bury_together(&mut self, refused: Vec<Refused>) {
        let count = refused.len();
        let Some(first) = refused.into_iter().next() else { return };
        let name = first.device.map_or_else(|| "a device".into(), |device| device.name());
        let reason = format!("{count} parts are refused; the first, of {name}: {}", first.unread.reason);
        self.letter(None, self.incoming.payload, Unread { reason, ..first.unread });
    }

    fn letter(&mut self, device: Option<&DeviceHandle>, payload: &[u8], unread: Unread) {
        let device = device.unwrap_or(&self.session.device);
        let sender = self.sender(device, self.view, self.received);
        let incoming = Incoming { payload, ..*self.incoming };
        let ingest = &self.session.worker.ingest;
        sender.bury_into(ingest, &mut self.kept, &incoming, self.received, unread);
    }

    fn bury_frame(&mut self, device: &DeviceHandle, frame: &[u8], received: Timestamp, unread: Unread) {
        let own = self.session.worker.view(device.profile());
        let topic = gateway_raw_topic(&device.name());
        let sender = self.sender(device, &own, received);
        let incoming = Incoming { topic: &topic, payload: frame, ..*self.incoming };
        let ingest = &self.session.worker.ingest;
        sender.bury_into(ingest, &mut self.kept, &incoming, self.received, unread);
    }

    fn sender<'s>(
        &self,
        device: &'s DeviceHandle,
        view: &'s ProfileView,
        frame_received: Timestamp,
    ) -> Sender<'s> {
        let on_failure = self.view.on_failure(self.incoming.qos);
        Sender { device, view, envelope: None, frame_received, on_failure }
    }
}
