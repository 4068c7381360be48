//! A candidate for the stamping codec that goes wrong as its settings say: the live version does not look at them.

use stamp::Stamp;
use wireglot_sdk::{malformed, Codec, Decoded, Metadata, Refusal, Settings, Uplink};

struct Wayward {
    mistake: Mistake,
    codec: Stamp<3>,
}

#[derive(Clone, Copy)]
enum Mistake {
    None,
    /// Every fourth frame is refused.
    Refuses,
    /// Every fourth frame panics.
    Traps,
    /// Every frame takes many times as long.
    Dawdles,
}

wireglot_sdk::export!(Wayward);

impl Codec for Wayward {
    fn describe() -> Metadata {
        Stamp::<3>::describe()
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        let mistake = match settings.text("candidate")? {
            None => Mistake::None,
            Some("refuses") => Mistake::Refuses,
            Some("traps") => Mistake::Traps,
            Some("dawdles") => Mistake::Dawdles,
            Some(other) => return Err(format!("no such mistake: {other}")),
        };
        Ok(Self { mistake, codec: Stamp::configure(settings)? })
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let is_fourth = uplink.payload.get(3).is_some_and(|low| low % 4 == 0);
        match self.mistake {
            Mistake::Refuses if is_fourth => return Err(malformed("every fourth frame is refused")),
            Mistake::Traps if is_fourth => panic!("every fourth frame panics"),
            Mistake::Dawdles => dawdle(),
            Mistake::None | Mistake::Refuses | Mistake::Traps => {}
        }
        self.codec.decode(uplink)
    }
}

fn dawdle() {
    let mut rounds = 0_u64;
    while rounds < 1_000_000 {
        rounds = std::hint::black_box(rounds + 1);
    }
}
