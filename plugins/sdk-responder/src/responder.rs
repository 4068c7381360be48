//! The trait that a responder implements, and how it becomes the exports of a component.

use crate::{Call, Description, Failure, Settings};

/// Answers what devices call.
///
/// A value of the type is one set of settings. It has no state between two calls on purpose: the host drops instances
/// and makes new ones between any two of them.
pub trait Responder: Sized {
    /// What this responder is. Called once when the file is loaded, before any settings exist.
    fn describe() -> Description;

    /// Takes the profile's settings. The error is shown to the operator, so it names the setting and what it may be.
    fn configure(settings: &Settings) -> Result<Self, String>;

    /// Answers one call with JSON text. [`Failure::UnknownMethod`] leaves the call to the profile's webhook.
    fn answer(&self, call: Call) -> Result<String, Failure>;
}

/// The device hears this as `{"error": …}`.
pub fn failed(reason: impl Into<String>) -> Failure {
    Failure::Failed(reason.into())
}

/// A list of names, for [`Description`].
pub fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| String::from(*name)).collect()
}

/// The text as a JSON string, with its quotes.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// Makes a [`Responder`] the responder of this component. Once per crate.
#[macro_export]
macro_rules! export {
    ($responder:ty) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Settings) -> ::std::result::Result<$responder, ::std::string::String> =
            <$responder as $crate::Responder>::configure;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::{Call, Description, Failure, Responder, Settings};

            // One instance, one profile, one set of settings: the host configures an instance once.
            static RESPONDER: ::std::sync::OnceLock<$responder> = ::std::sync::OnceLock::new();

            struct Component;

            impl $crate::bindings::Guest for Component {
                fn describe() -> Description {
                    <$responder as Responder>::describe()
                }
                fn configure(
                    settings: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    let responder = <$responder as Responder>::configure(&Settings::parse(&settings)?)?;
                    RESPONDER.set(responder).map_err(|_| "configured twice".into())
                }
                fn answer(call: Call) -> ::std::result::Result<::std::string::String, Failure> {
                    RESPONDER.get().expect("the host configures an instance first").answer(call)
                }
            }

    $crate::bindings::export_guest!(Component with_types_in $crate::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_json() {
        assert_eq!(quoted("a\"b\\c\n\u{1}ä"), "\"a\\\"b\\\\c\\u000a\\u0001ä\"");
    }
}
