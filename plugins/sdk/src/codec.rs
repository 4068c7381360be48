//! The trait that a codec implements, and how it becomes the exports of a component.

use crate::{unsupported, Decoded, Downlink, Metadata, Outgoing, Refusal, Settings, Uplink};

/// One family of devices: its frames into messages, and commands back into frames.
///
/// A value of the type is one set of settings. It has no state between two frames on purpose: the host drops
/// instances and makes new ones between any two of them.
pub trait Codec: Sized {
    /// What this codec is. Called once when the file is loaded, before any settings exist.
    fn describe() -> Metadata;

    /// Takes the profile's settings. The error is shown to the operator, so it names the setting and what it may be.
    fn configure(settings: &Settings) -> Result<Self, String>;

    /// Translates one frame.
    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal>;

    /// Translates one command; an empty list means that there is nothing to send.
    /// A codec that implements it says `encodes: true` in [`Codec::describe`].
    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        let _ = downlink;
        Err(unsupported("this codec sends nothing to its devices"))
    }
}

/// The text that the transport gave for `name`, such as `fPort`.
pub fn fact<'a>(metadata: &'a [(String, String)], name: &str) -> Option<&'a str> {
    metadata.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
}

/// Makes a [`Codec`] the codec of this component. Once per crate.
#[macro_export]
macro_rules! export {
    ($codec:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Settings) -> ::std::result::Result<$codec, ::std::string::String> =
            <$codec as $crate::Codec>::configure;

        // Native builds are for tests only, and `decode` would be a rash name for a symbol there.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::{Codec, Decoded, Downlink, Metadata, Outgoing, Refusal, Settings, Uplink};

            // One instance, one profile, one set of settings: the host configures an instance once.
            static CODEC: ::std::sync::OnceLock<$codec> = ::std::sync::OnceLock::new();

            fn codec() -> &'static $codec {
                CODEC.get().expect("the host configures an instance first")
            }

            struct Component;

            impl $crate::bindings::Guest for Component {
                fn describe() -> Metadata {
                    <$codec as Codec>::describe()
                }
                fn configure(
                    settings: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    let codec = <$codec as Codec>::configure(&Settings::parse(&settings)?)?;
                    CODEC.set(codec).map_err(|_| "configured twice")?;
                    $crate::open_arena();
                    Ok(())
                }
                fn decode(uplink: Uplink) -> ::std::result::Result<Decoded, Refusal> {
                    codec().decode(uplink)
                }
                fn encode(downlink: Downlink) -> ::std::result::Result<::std::vec::Vec<Outgoing>, Refusal> {
                    codec().encode(downlink)
                }
            }

    $crate::bindings::export_guest!(Component with_types_in $crate::bindings);
        };
    };
}
