//! The 400 cases of conformance of the device API, each a row with its number: what a device does and what it must see.
//!
//! `cargo xtask conformance` prints the table. A row runs against the real binary; rows share servers and run side by
//! side.

mod case;
mod client;
mod people;
mod proto;
mod run;
mod webhook;

mod a_connect;
mod a_tls;
mod b_mqtt;
mod c_subscribe;
mod d_telemetry;
mod e_values;
mod f_lenient;
mod g_refusals;
mod h_filters;
mod i_attributes;
mod j_requests;
mod k_updates;
mod l_rpc;
mod m_client_rpc;
mod n_claim;
mod o_provision;
mod p_ota;
mod q_protobuf;
mod r_profiles;
mod s_limits;
mod t_sessions;
mod u_downlinks;
mod u_gateway;
mod u_protobuf;
mod v_sparkplug;

use case::Row;

/// The groups in their order, with the letters that the cases are known by.
const GROUPS: [(char, &[Row]); 25] = [
    ('A', a_connect::ROWS),
    ('A', a_tls::ROWS),
    ('B', b_mqtt::ROWS),
    ('C', c_subscribe::ROWS),
    ('D', d_telemetry::ROWS),
    ('E', e_values::ROWS),
    ('F', f_lenient::ROWS),
    ('G', g_refusals::ROWS),
    ('H', h_filters::ROWS),
    ('I', i_attributes::ROWS),
    ('J', j_requests::ROWS),
    ('K', k_updates::ROWS),
    ('L', l_rpc::ROWS),
    ('M', m_client_rpc::ROWS),
    ('N', n_claim::ROWS),
    ('O', o_provision::ROWS),
    ('P', p_ota::ROWS),
    ('Q', q_protobuf::ROWS),
    ('R', r_profiles::ROWS),
    ('S', s_limits::ROWS),
    ('T', t_sessions::ROWS),
    ('U', u_gateway::ROWS),
    ('U', u_downlinks::ROWS),
    ('U', u_protobuf::ROWS),
    ('V', v_sparkplug::ROWS),
];

#[test]
fn every_case_is_a_row_that_passes() {
    a_tls::prepare();
    run::all(&GROUPS);
}
