//! SUBSCRIBE and UNSUBSCRIBE: device API §5.3 and §5.4, conformance group C.

use wireglot_model::limits::SUBSCRIBE_FILTERS_MAX;

use super::harness::*;

/// What a SUBACK or UNSUBACK of this version has before its codes.
fn head(version: Version, id: u8) -> Vec<u8> {
    if version == Version::V3 { vec![0, id] } else { vec![0, id, 0] }
}

#[track_caller]
fn check(client: &mut Client, version: Version, filters: &[(&str, u8)], codes: &[u8]) {
    client.send(&subscribe(version, 1, filters));
    client.expect(0x90, &[&head(version, 1), codes].concat());
}

#[test]
fn filters_are_granted_or_refused_one_by_one() {
    let server = Server::start();
    for (version, refused) in [(Version::V3, 0x80), (Version::V5, 0x8F)] {
        let mut client = server.connected(version, "TOK");
        let three = [("v1/devices/me/attributes", 1), ("bad", 1), ("v2/r/req/+", 0)];
        check(&mut client, version, &three, &[1, refused, 0]);
        check(&mut client, version, &[("v1/devices/me/attributes", 2)], &[1]);
        for filter in [
            "wrong/topic/+",
            "#",
            "v1/devices/me/#",
            "v1/devices/me/rpc/request/7",
            "a#b",
            "",
            "$share/g/v2/a",
        ] {
            check(&mut client, version, &[(filter, 1)], &[refused]);
        }
        check(&mut client, version, &[("v1/gateway/rpc", 1)], &[1]);
        client.expect_alive();
    }
}

#[test]
fn a_subscribe_has_a_bounded_number_of_filters() {
    let server = Server::start();
    for (version, too_many) in [(Version::V3, 0x80), (Version::V5, 0x97)] {
        let mut client = server.connected(version, "TOK");
        let filters = vec![("v2/a", 0); SUBSCRIBE_FILTERS_MAX + 1];
        let mut codes = vec![0; SUBSCRIBE_FILTERS_MAX];
        codes.push(too_many);
        check(&mut client, version, &filters, &codes);
        client.send(&subscribe(version, 2, &[]));
        client.expect_close(version, 0x82);
    }
}

#[test]
fn unsubscribing_says_whether_there_was_a_subscription() {
    let server = Server::start();
    let mut client = server.connected(Version::V5, "TOK");
    client.send(&unsubscribe(Version::V5, 1, &["v1/devices/me/attributes"]));
    client.expect(0xB0, &[0, 1, 0, 0x11]);
    check(&mut client, Version::V5, &[("v1/devices/me/attributes", 0)], &[0]);
    client.send(&unsubscribe(Version::V5, 2, &["v1/devices/me/attributes", "never"]));
    client.expect(0xB0, &[0, 2, 0, 0, 0x11]);
    let mut client = server.connected(Version::V3, "TOK2");
    client.send(&unsubscribe(Version::V3, 3, &["never"]));
    client.expect(0xB0, &[0, 3]);
}

#[test]
fn no_subscription_survives_the_connection() {
    let server = Server::start();
    let mut first = server.connected(Version::V3, "TOK");
    check(&mut first, Version::V3, &[("v1/devices/me/attributes", 1)], &[1]);
    drop(first);
    let mut second = server.connected(Version::V3, "TOK");
    server.write_shared("TOK", "a", 1);
    second.expect_alive();
}
