//! Bodies of client-side RPCs of any kind: no panic, a method and valid JSON out, and strict JSON as `serde_json` reads it.

use serde_json::Value as Judge;

use crate::native::{client_rpc, write_error};

/// One body of a call, and as the reason of an error.
pub fn check(payload: &[u8]) {
    let call = client_rpc(payload);
    if let Ok((method, params)) = &call {
        let read: Result<Box<serde_json::value::RawValue>, _> = serde_json::from_str(params);
        assert!(read.is_ok(), "{params} is not JSON");
        let again = format!("{{\"method\":{},\"params\":{params}}}", Judge::from(method.as_str()));
        let again = client_rpc(again.as_bytes()).expect("what was read can be read again");
        assert_eq!((&again.0, &again.1), (method, params));
    }
    if let Ok(Judge::Object(judged)) = serde_json::from_slice(payload) {
        match (judged.get("method"), call) {
            (Some(Judge::String(text)), Ok((method, params))) => {
                assert_eq!(*text, method);
                let params: Judge = serde_json::from_str(&params).expect("it is no deeper than the whole");
                assert_eq!(params, judged.get("params").cloned().unwrap_or(Judge::Null));
            }
            (Some(Judge::Bool(_) | Judge::Number(_) | Judge::Array(_)), _) => {}
            (Some(Judge::String(_)), Err(refusal)) => panic!("{refusal}"),
            (None | Some(Judge::Null | Judge::Object(_)), call) => assert!(call.is_err()),
        }
    }
    let reason = String::from_utf8_lossy(payload);
    let error: Judge = serde_json::from_str(&write_error(&reason)).expect("an error is JSON");
    assert_eq!(error, serde_json::json!({ "error": reason }));
}
