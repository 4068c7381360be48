//! JSON that the server writes: compact, in the spelling that clients compare (device API §8.6, §11.2, §11.3).

use wireglot_model::Sample;
use wireglot_model::value::write_json_string;

use super::read::Node;

/// `{"key1":"value1","key2":42}`: all shared attributes of one write.
pub fn write_attribute_update(samples: &[Sample]) -> String {
    let mut out = String::new();
    write_samples(samples, &mut out);
    out
}

/// `{"deleted":["key1","key2"]}`.
pub fn write_attribute_delete(keys: &[String]) -> String {
    let mut out = String::from("{\"deleted\":[");
    for (index, key) in keys.iter().enumerate() {
        separate(index, &mut out);
        write_json_string(key, &mut out);
    }
    out.push_str("]}");
    out
}

/// `{"client":{…},"shared":{…}}`; a scope without values is left out.
pub fn write_attribute_response(client: &[Sample], shared: &[Sample]) -> String {
    let mut out = String::from("{");
    let scopes = [("client", client), ("shared", shared)];
    let found = scopes.iter().filter(|(_, samples)| !samples.is_empty());
    for (index, (scope, samples)) in found.enumerate() {
        separate(index, &mut out);
        write_json_string(scope, &mut out);
        out.push(':');
        write_samples(samples, &mut out);
    }
    out.push('}');
    out
}

/// `{"method":"setGpio","params":{…}}`; `params` is JSON text.
pub fn write_rpc_request(method: &str, params: &str) -> String {
    let mut out = String::from("{\"method\":");
    write_json_string(method, &mut out);
    out.push_str(",\"params\":");
    out.push_str(params);
    out.push('}');
    out
}

/// The same for whoever has no topic that tells the request id: `{"id":1,"method":"setGpio","params":{…}}`.
pub fn write_numbered_rpc_request(id: i32, method: &str, params: &str) -> String {
    let mut out = format!("{{\"id\":{id},\"method\":");
    write_json_string(method, &mut out);
    out.push_str(",\"params\":");
    out.push_str(params);
    out.push('}');
    out
}

/// `{"clientKeys":"a,b","sharedKeys":"c"}`: a request for these attributes; without any keys, for all.
pub fn write_attribute_request(client_keys: &[String], shared_keys: &[String]) -> String {
    let mut out = String::from("{");
    let groups = [("clientKeys", client_keys), ("sharedKeys", shared_keys)];
    for (index, (name, keys)) in groups.into_iter().filter(|(_, keys)| !keys.is_empty()).enumerate() {
        separate(index, &mut out);
        write_json_string(name, &mut out);
        out.push(':');
        write_json_string(&keys.join(","), &mut out);
    }
    out.push('}');
    out
}

/// `{"error":"…"}`: what a call gets that nobody can answer.
pub fn write_error(reason: &str) -> String {
    let mut out = String::from("{\"error\":");
    write_json_string(reason, &mut out);
    out.push('}');
    out
}

fn write_samples(samples: &[Sample], out: &mut String) {
    out.push('{');
    for (index, sample) in samples.iter().enumerate() {
        separate(index, out);
        write_json_string(&sample.key, out);
        out.push(':');
        sample.value.write_json(out);
    }
    out.push('}');
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

/// A nested value as stored: number spellings kept, null members of objects dropped, nulls in arrays kept.
pub(super) fn compact(node: &Node<'_>) -> String {
    let mut out = String::new();
    write_node(node, Nulls::Dropped, &mut out);
    out
}

/// A value as it came, nulls and all.
pub(super) fn whole(node: &Node<'_>) -> String {
    let mut out = String::new();
    write_node(node, Nulls::Kept, &mut out);
    out
}

/// What becomes of members of objects that are null.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    Kept,
    Dropped,
}

fn write_node(node: &Node<'_>, nulls: Nulls, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Node::Number(text) => out.push_str(text),
        Node::Text(text) => write_json_string(text, out),
        Node::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                separate(index, out);
                write_node(element, nulls, out);
            }
            out.push(']');
        }
        Node::Object(members) => {
            out.push('{');
            let is_kept = |member: &Node<'_>| nulls == Nulls::Kept || !matches!(member, Node::Null);
            let kept = members.iter().filter(|(_, member)| is_kept(member));
            for (index, (name, member)) in kept.enumerate() {
                separate(index, out);
                write_json_string(name, out);
                out.push(':');
                write_node(member, nulls, out);
            }
            out.push('}');
        }
    }
}
