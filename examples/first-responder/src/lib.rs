//! Answers three calls: `echo` gives the parameters back, `time` tells the time, `lookup` reads a shared attribute.
//!
//! The setting `greeting`, a text, is put into every answer to `time`.
use wireglot_sdk_responder::{
    failed, quoted, texts, Call, Description, Failure, Responder, Scalar, Settings,
};

struct FirstResponder {
    greeting: String,
}

wireglot_sdk_responder::export!(FirstResponder);

impl Responder for FirstResponder {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Example".into(),
            summary: "Echo, time, and a look at shared attributes".into(),
            methods: texts(&["echo", "time", "lookup"]),
            shared_keys: texts(&["interval", "place"]),
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.only(&["greeting"])?;
        Ok(Self { greeting: settings.text("greeting")?.unwrap_or("hello").to_owned() })
    }

    fn answer(&self, call: Call) -> Result<String, Failure> {
        match call.method.as_str() {
            "echo" => Ok(call.params),
            "time" => Ok(self.time(call.now_ms)),
            "lookup" => lookup(&call),
            _ => Err(Failure::UnknownMethod),
        }
    }
}

impl FirstResponder {
    fn time(&self, now_ms: i64) -> String {
        format!("{{\"now\":{now_ms},\"greeting\":{}}}", quoted(&self.greeting))
    }
}

/// `{"key":"place"}` → `{"device":"d","value":"roof"}`
fn lookup(call: &Call) -> Result<String, Failure> {
    let params =
        Settings::parse(&call.params).map_err(|problem| failed(format!("the parameters: {problem}")))?;
    let key = params.text("key").ok().flatten().ok_or_else(|| failed("the parameters name a `key`"))?;
    let shared = Settings::parse(&call.shared).map_err(failed)?;
    let value = match shared.get(key) {
        Some(Scalar::Text(text)) => quoted(text),
        Some(Scalar::Number(json) | Scalar::Nested(json)) => json.clone(),
        Some(Scalar::Boolean(truth)) => truth.to_string(),
        Some(Scalar::Null) | None => "null".to_owned(),
    };
    Ok(format!("{{\"device\":{},\"value\":{value}}}", quoted(&call.device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(method: &str, params: &str) -> Result<String, String> {
        let responder = FirstResponder::configure(&Settings::parse("{}").unwrap()).unwrap();
        let call = Call {
            id: 1,
            method: method.into(),
            params: params.into(),
            device: "d\"1".into(),
            profile: "p".into(),
            now_ms: 42,
            shared: r#"{"place":"roof","interval":60}"#.into(),
        };
        responder.answer(call).map_err(|failure| match failure {
            Failure::UnknownMethod => "unknown".to_owned(),
            Failure::Failed(reason) => reason,
        })
    }

    #[test]
    fn it_answers_what_it_says() {
        assert_eq!(answer("echo", "[1,null]").unwrap(), "[1,null]");
        assert_eq!(answer("time", "null").unwrap(), r#"{"now":42,"greeting":"hello"}"#);
        assert_eq!(answer("lookup", r#"{"key":"place"}"#).unwrap(), r#"{"device":"d\"1","value":"roof"}"#);
        assert_eq!(answer("lookup", r#"{"key":"interval"}"#).unwrap(), r#"{"device":"d\"1","value":60}"#);
        assert_eq!(answer("lookup", r#"{"key":"absent"}"#).unwrap(), r#"{"device":"d\"1","value":null}"#);
        assert_eq!(answer("lookup", "5").is_err(), true);
        assert_eq!(answer("lookup", "{}").unwrap_err(), "the parameters name a `key`");
        assert_eq!(answer("other", "{}").unwrap_err(), "unknown");
    }
}
