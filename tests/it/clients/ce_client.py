"""A device's whole life, told with tb-ce-client as it is published: its models refuse what is not exactly in shape."""
import ast
import json
import os
import time

from rest_walk import IMAGE, MINUTE, START, Device, eventually, refused
from tb_ce_client.client import ThingsboardClient
from tb_ce_client.exceptions import ApiException
from tb_ce_client.models import (
    ActivateUserRequest, ApiKeyInfo, ClaimRequest, Customer, Device as DeviceBody, DeviceCredentials, DeviceCredentialsId, DeviceProfile,
    SaveDeviceWithCredentialsRequest, SaveOtaPackageInfoRequest, User,
)

url, password = os.environ["WIREGLOT_URL"], os.environ["WIREGLOT_PASSWORD"]
PASSWORD = "correct horse battery 3"


def of(entity):
    """The id of an entity, as paths have it."""
    return str(entity.id.id)


def strangers():
    try:
        ThingsboardClient(url, "tenant@thingsboard.org", "wrong")
    except ApiException as refusal:
        assert refusal.status == 401 and "Invalid username or password" in str(refusal), refusal
    else:
        raise AssertionError("a wrong password is let in")
    refused(ApiException, 401, "Authentication failed", ThingsboardClient(url).get_user)
    refused(ApiException, 401, "Authentication failed", ThingsboardClient(url, token="no.good.token").get_user)


def login():
    admin = ThingsboardClient(url, "tenant@thingsboard.org", password)
    user = admin.get_user()
    assert (user.email, user.authority) == ("tenant@thingsboard.org", "TENANT_ADMIN"), user
    # As it is an hour before the token ends, and once it has: the client asks for another one by itself.
    tokens = admin._auth_manager
    old = tokens.get_token()
    assert tokens._token_info.clock_diff < 5_000 and tokens._token_info.token_exp_ts > time.time() * 1000 + 3_600_000
    tokens._token_info.token_exp_ts = int(time.time() * 1000)
    time.sleep(1)
    assert admin.get_user().email == user.email and admin.get_token() != old, "the token was not renewed"
    return admin


def profiles(admin):
    topics = {"deviceTelemetryTopic": "up/telemetry", "deviceAttributesTopic": "up/attributes"}
    transport = {"type": "MQTT", **topics, "transportPayloadTypeConfiguration": {"transportPayloadType": "JSON"}}
    body = DeviceProfile.from_dict({
        "name": "thermometer", "type": "DEFAULT", "transportType": "MQTT", "provisionType": "DISABLED",
        "profileData": {"configuration": {"type": "DEFAULT"}, "transportConfiguration": transport},
    })
    made = admin.save_device_profile(body)
    shown = made.profile_data.transport_configuration
    assert (shown.type, shown.device_telemetry_topic) == ("MQTT", "up/telemetry"), made
    made.description = "reads temperatures"
    assert admin.save_device_profile(made).description == "reads temperatures"
    read = admin.get_device_profile_by_id(of(made))
    assert read.description == "reads temperatures" and read.default is False and read.created_time > START, read
    refused(ApiException, 400, "Device profile with such name already exists!", admin.save_device_profile, body)
    infos = admin.get_device_profile_infos(page_size=10, page=0, text_search="THERMO")
    assert [info.name for info in infos.data] == ["thermometer"], infos
    assert admin.get_default_device_profile_info().name == "default"
    assert admin.get_device_profile_info_by_id(of(made)).transport_type == "MQTT"
    assert admin.get_device_profiles(page_size=1, page=0).has_next is True
    schema = 'syntax = "proto3"; message Values { double t = 1; }'
    schemas = {"deviceTelemetryProtoSchema": schema, "deviceAttributesProtoSchema": schema}
    coded = admin.save_device_profile(DeviceProfile.from_dict({
        "name": "binary", "type": "DEFAULT", "transportType": "MQTT", "provisionType": "DISABLED",
        "profileData": {"configuration": {"type": "DEFAULT"}, "transportConfiguration": {
            "type": "MQTT", "transportPayloadTypeConfiguration": {
                "transportPayloadType": "PROTOBUF", **schemas}}},
    }))
    payload = coded.profile_data.transport_configuration.transport_payload_type_configuration
    assert payload.device_telemetry_proto_schema == schema, coded
    admin.delete_device_profile(of(coded))
    refused(ApiException, 404, "Requested item", admin.get_device_profile_by_id, of(coded))
    return made


def devices(admin, profile):
    device = admin.save_device(DeviceBody(name="thermo-1", type="thermometer", label="Lobby", additional_info={"floor": 1}),
                               access_token="THERMO-1")
    assert str(device.device_profile_id.id) == of(profile) and device.version is not None, device
    refused(ApiException, 400, "Device with such name already exists!", admin.save_device, DeviceBody(name="thermo-1"))
    refused(ApiException, 400, "Device name should be specified!", admin.save_device, DeviceBody(name=""))
    both = SaveDeviceWithCredentialsRequest(
        device=DeviceBody(name="thermo-2"),
        # The model insists on the ids, which nobody has yet.
        credentials=DeviceCredentials(id=DeviceCredentialsId(id=device.id.id), device_id=device.id,
                                      credentials_type="ACCESS_TOKEN", credentials_id="THERMO-1"))
    refused(ApiException, 400, "already", admin.save_device_with_credentials, both)
    both.credentials.credentials_id = "ANOTHER"
    another = admin.save_device_with_credentials(both)
    assert (another.name, another.type) == ("thermo-2", "default"), another
    device.label = "Main hall"
    device = admin.save_device(device)
    read = admin.get_device_by_id(of(device))
    assert (read.label, read.additional_info, read.type) == ("Main hall", {"floor": 1}, "thermometer"), read
    info = admin.get_device_info_by_id(of(device))
    assert info.device_profile_name == "thermometer" and info.active is False, info
    assert admin.get_tenant_device_by_name("thermo-1").id.id == device.id.id
    refused(ApiException, 404, "Requested item", admin.get_tenant_device_by_name, "nobody")
    refused(ApiException, 400, "Invalid UUID string: nonsense", admin.get_device_by_id, "nonsense")
    page = admin.get_tenant_devices(page_size=1, page=0, sort_property="name", sort_order="DESC")
    assert (page.total_elements, page.total_pages, page.has_next) == (2, 2, True), page
    assert [device.name for device in page.data] == ["thermo-2"], page
    page = admin.get_tenant_device_infos(page_size=9, page=0, device_profile_id=of(profile), text_search="MAIN")
    assert [device.name for device in page.data] == ["thermo-1"], page
    admin.delete_device(of(another))
    refused(ApiException, 404, "Requested item", admin.get_device_by_id, of(another))
    return device


def ready(admin, device):
    """When the device last said that it is ready."""
    point = admin.get_latest_timeseries("DEVICE", device, keys="ready")["ready"][0]
    return point.ts if point.value == "true" else 0


def credentials(admin, device):
    shown = admin.get_device_credentials_by_device_id(device)
    assert (shown.credentials_type, shown.credentials_id) == ("ACCESS_TOKEN", "THERMO-1"), shown
    with Device("THERMO-1") as before:
        before_change = eventually("it is ready", lambda: ready(admin, device))
        eventually("it is active", lambda: admin.get_device_info_by_id(device).active is True)
        shown.credentials_type, shown.credentials_id = "MQTT_BASIC", ""
        shown.credentials_value = json.dumps({"clientId": "THERMO-2", "userName": "THERMO-2", "password": None})
        assert admin.update_device_credentials(shown).credentials_type == "MQTT_BASIC"
        before.ended()
    return before_change


def telemetry(admin, device, before_change):
    def latest(*keys):
        found = admin.get_latest_timeseries("DEVICE", device, keys=",".join(keys), use_strict_data_types=True)
        return {key: points[0].value for key, points in found.items()}

    def history(**query):
        query = {"start_ts": START, "end_ts": START + 10 * MINUTE, "keys": "temperature", **query}
        points = admin.get_timeseries_history("DEVICE", device, **query)["temperature"]
        return [(point.ts, point.value) for point in points]

    eventually("the device is ready again", lambda: ready(admin, device) > before_change)
    assert latest("temperature", "on", "nobody") == {"temperature": 29.5, "on": False, "nobody": None}
    assert {"on", "ready", "temperature"} <= set(admin.get_timeseries_keys("DEVICE", device))
    assert history(limit="2", order_by="ASC") == [(START, "20.5"), (START + MINUTE, "21.5")]
    middles = START + MINUTE * 5 // 2, START + MINUTE * 15 // 2
    wanted = {"MIN": (20.5, 25.5), "MAX": (24.5, 29.5), "AVG": (22.5, 27.5), "SUM": (112.5, 137.5), "COUNT": (5, 5)}
    for kind, values in wanted.items():
        shown = history(agg=kind, interval=5 * MINUTE, use_strict_data_types=True)
        assert shown == list(zip(middles, values)), (kind, shown)
    admin.save_entity_telemetry("DEVICE", device, "ANY", json.dumps({"ts": START, "values": {"saved": 1}}))
    admin.save_entity_telemetry_with_ttl("DEVICE", device, "ANY", 3600, json.dumps({"saved": 2}))
    assert latest("saved") == {"saved": 2}
    refused(ApiException, 400, "No timeseries data", admin.save_entity_telemetry, "DEVICE", device, "ANY", "{}")
    refused(ApiException, 400, "parse", admin.save_entity_telemetry, "DEVICE", device, "ANY", "[1, 2")


def in_scope(admin, device, scope, **query):
    """Attributes of one scope: this version of the client gives nothing but the bytes of this one answer."""
    answer = admin.get_attributes_by_scope_with_http_info("DEVICE", device, scope, **query)
    return {attribute["key"]: attribute["value"] for attribute in json.loads(answer.raw_data)}


def deletes(admin, device):
    end = START + 10 * MINUTE
    admin.delete_entity_timeseries("DEVICE", device, keys="temperature", start_ts=START, end_ts=START + 8 * MINUTE)
    left = admin.get_timeseries_history("DEVICE", device, START, end, keys="temperature", order_by="ASC")["temperature"]
    assert [point.value for point in left] == ["28.5", "29.5"], left
    admin.delete_entity_timeseries("DEVICE", device, keys="saved", delete_all_data_for_keys=True)
    assert "saved" not in admin.get_timeseries_keys("DEVICE", device)
    refused(ApiException, 400, "eys", admin.delete_entity_timeseries, "DEVICE", device, delete_all_data_for_keys=True)


def attributes(admin, device):
    admin.save_device_attributes(device, "SHARED_SCOPE", json.dumps({"interval": 60, "mode": "eco"}))

    def told():
        found = admin.get_latest_timeseries("DEVICE", device, keys="told", use_strict_data_types=True)
        return found["told"][0].value or {}

    eventually("the device was told", lambda: told() == {"interval": 60, "mode": "eco"})
    server = {"limits": {"max": 30.5}, "site": "north", "checked": True}
    admin.save_entity_attributes_v2("DEVICE", device, "SERVER_SCOPE", json.dumps(server))
    assert in_scope(admin, device, "SERVER_SCOPE", keys="limits,site,checked") == server
    assert in_scope(admin, device, "CLIENT_SCOPE") == {"model": "T-1"}
    shown = {attribute.key: attribute.value for attribute in admin.get_attributes("DEVICE", device)}
    assert shown["interval"] == 60 and shown["site"] == "north" and shown["model"] == "T-1", shown
    assert {"model", "mode"} <= set(admin.get_attribute_keys("DEVICE", device))
    admin.delete_entity_attributes("DEVICE", device, "SHARED_SCOPE", keys="interval,nobody")
    eventually("the device was told", lambda: told().get("deleted"))
    admin.delete_device_attributes(device, "SERVER_SCOPE", keys="limits")
    assert "limits" not in admin.get_attribute_keys_by_scope("DEVICE", device, "SERVER_SCOPE")
    for scope in ("CLIENT_SCOPE", "NO_SCOPE"):
        refused(ApiException, 400, "scope", admin.save_entity_attributes_v2, "DEVICE", device, scope, '{"a": 1}')


def calls(admin, device):
    call = json.dumps({"method": "blink", "params": {"times": 3}, "timeout": 20_000})
    for two_way in (admin.handle_two_way_device_rpc_request_v2, admin.handle_two_way_device_rpc_request_v1):
        # The client gives the text of the Python object that the answer is.
        assert ast.literal_eval(two_way(device, call)) == {"method": "blink", "params": {"times": 3}}
    admin.handle_one_way_device_rpc_request_v2(device, json.dumps({"method": "on", "params": None}))
    eventually("the device was called", lambda: admin.get_latest_timeseries(
        "DEVICE", device, keys="called")["called"][0].value == "on")
    kept = admin.handle_two_way_device_rpc_request_v2(
        device, json.dumps({"method": "count", "params": [1], "persistent": True}))
    rpc_id = ast.literal_eval(kept)["rpcId"]
    eventually("it is answered", lambda: admin.get_persisted_rpc(rpc_id).status == "SUCCESSFUL")
    rpc = admin.get_persisted_rpc(rpc_id)
    assert rpc.response == {"method": "count", "params": [1]} and str(rpc.device_id.id) == str(device), rpc
    page = admin.get_persisted_rpc_by_device(device, 10, 0, rpc_status="SUCCESSFUL")
    assert ast.literal_eval(page)["totalElements"] == 1, page
    admin.delete_rpc(rpc_id)
    refused(ApiException, 404, "Requested item", admin.get_persisted_rpc, rpc_id)


def updates(admin, device, profile):
    body = SaveOtaPackageInfoRequest.from_dict({
        "title": "app", "version": "1.0", "type": "FIRMWARE", "deviceProfileId": profile.id.to_dict(), "usesUrl": False})
    package = admin.save_ota_package_info(body)
    assert (package.title, package.tag, package.has_data) == ("app", "app 1.0", False), package
    refused(ApiException, 400, "already exists!", admin.save_ota_package_info, body)
    refused(ApiException, 400, "Wrong otaPackage file", admin.save_ota_package_data, of(package), "SHA256",
            ("app.bin", IMAGE), checksum="00ff")
    package = admin.save_ota_package_data(of(package), "SHA256", ("app.bin", IMAGE))
    assert (package.has_data, package.data_size, package.file_name) == (True, len(IMAGE), "app.bin"), package
    assert admin.get_ota_package_info_by_id(of(package)).checksum == package.checksum
    assert admin.get_ota_packages(page_size=9, page=0, text_search="APP").total_elements == 1
    page = admin.get_ota_packages_by_device_profile_and_type(of(profile), "FIRMWARE", page_size=9, page=0)
    assert page.data[0].version == "1.0", page
    body = admin.get_device_by_id(device)
    body.firmware_id = package.id
    assert admin.save_device(body).firmware_id.id == package.id.id
    told = lambda: in_scope(admin, device, "SHARED_SCOPE")
    shown = eventually("the device is told", lambda: told().get("fw_version") and told())
    assert (shown["fw_title"], shown["fw_size"], shown["fw_checksum"]) == ("app", len(IMAGE), package.checksum), shown
    assert bytes(admin.download_ota_package(of(package))) == IMAGE
    refused(ApiException, 400, "", admin.delete_ota_package, of(package))
    body = admin.get_device_by_id(device)
    body.firmware_id = None
    assert admin.save_device(body).firmware_id is None
    eventually("nothing is left of it", lambda: "fw_version" not in told())
    admin.delete_ota_package(of(package))
    refused(ApiException, 404, "Requested item", admin.get_ota_package_info_by_id, of(package))


def customers(admin, device):
    customer = admin.save_customer(Customer(title="Hotel", email="desk@hotel"))
    assert (customer.title, customer.name, customer.email) == ("Hotel", "Hotel", "desk@hotel"), customer
    assert admin.get_customer_by_id(of(customer)).title == "Hotel"
    assert admin.get_short_customer_info_by_id(of(customer)) == {"title": "Hotel", "isPublic": False}
    made = admin.save_user(User(email="guest@hotel", authority="CUSTOMER_USER", customer_id=customer.id, first_name="G"),
                           send_activation_mail="false")
    refused(ApiException, 401, "", ThingsboardClient, url, "guest@hotel", PASSWORD)
    token = admin.get_activation_link(of(made)).split("activateToken=")[1]
    pair = ThingsboardClient(url).activate_user(ActivateUserRequest(activate_token=token, password=PASSWORD))
    assert ThingsboardClient(url, token=pair.token).get_user().email == "guest@hotel"
    guest = ThingsboardClient(url, "guest@hotel", PASSWORD)
    refused(ApiException, 403, "permission", guest.get_device_by_id, device)
    assert admin.assign_device_to_customer(of(customer), device).customer_id.id == customer.id.id
    page = guest.get_customer_devices(of(customer), page_size=9, page=0)
    assert [device.name for device in page.data] == ["thermo-1"], page
    assert guest.get_device_by_id(device).name == "thermo-1" and guest.get_timeseries_keys("DEVICE", device)
    refused(ApiException, 403, "permission", guest.get_tenant_devices, page_size=9, page=0)
    refused(ApiException, 403, "permission", guest.delete_device, device)
    assert str(admin.unassign_device_from_customer(device).customer_id.id).startswith("13814000")
    refused(ApiException, 403, "permission", guest.get_device_by_id, device)
    return customer, guest


def claiming(admin, device, customer, guest):
    refused(ApiException, 403, "permission", admin.claim_device, "thermo-1", ClaimRequest(secret_key="open sesame"))
    refused(ApiException, 404, "Requested item", guest.claim_device, "nobody", ClaimRequest(secret_key="open sesame"))
    with Device("THERMO-2", "open sesame"):
        eventually("it may be claimed", lambda: "claimable" in admin.get_timeseries_keys("DEVICE", device))
        answer = ast.literal_eval(guest.claim_device("thermo-1", ClaimRequest(secret_key="open sesame")))
    assert answer["response"] == "SUCCESS" and answer["device"]["name"] == "thermo-1", answer
    assert str(guest.get_device_by_id(device).customer_id.id) == str(of(customer))
    guest.re_claim_device("thermo-1")
    refused(ApiException, 403, "permission", guest.get_device_by_id, device)


def keys(admin, device):
    me = admin.get_user()
    key = admin.save_api_key(ApiKeyInfo(description="nightly report", enabled=True, expiration_time=0, user_id=me.id))
    report = ThingsboardClient(url, api_key=key.value)
    assert report.get_device_by_id(device).name == "thermo-1" and report.get_user().email == me.email
    page = admin.get_user_api_keys(of(me), page_size=9, page=0)
    assert [key.description for key in page.data] == ["nightly report"], page
    assert admin.update_api_key_description(of(key), "weekly report").description == "weekly report"
    admin.enable_api_key(of(key), False)
    refused(ApiException, 401, "", report.get_device_by_id, device)
    admin.delete_api_key(of(key))
    refused(ApiException, 401, "", report.get_user)


def endings(admin, device, profile, customer, guest):
    refused(ApiException, 400, "", admin.delete_device_profile, of(profile))
    admin.delete_device(device)
    refused(ApiException, 404, "Requested item", admin.get_device_by_id, device)
    admin.delete_device_profile(of(profile))
    admin.delete_customer(of(customer))
    refused(ApiException, 401, "Authentication failed", guest.get_user)
    left = ThingsboardClient(url, token=admin.get_token())
    admin.logout()
    refused(ApiException, 401, "Authentication failed", left.get_user)


if __name__ == "__main__":
    strangers()
    admin = login()
    profile = profiles(admin)
    device = of(devices(admin, profile))
    before_change = credentials(admin, device)
    with Device("THERMO-2"):
        telemetry(admin, device, before_change)
        attributes(admin, device)
        calls(admin, device)
        updates(admin, device, profile)
        deletes(admin, device)
    customer, guest = customers(admin, device)
    claiming(admin, device, customer, guest)
    keys(admin, device)
    endings(admin, device, profile, customer, guest)
