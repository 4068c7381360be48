"""A device's whole life, told with tb-rest-client as it is published."""
import json
import os
import sys
import tempfile

from rest_walk import IMAGE, MINUTE, START, Device, eventually, refused
from tb_rest_client.models import (
    ActivateUserRequest, ApiKeyInfo, ChangePasswordRequest, ClaimRequest, Customer, Device as DeviceBody,
    DeviceCredentials, DeviceProfile, User,
)
from tb_rest_client.rest import ApiException
from tb_rest_client.rest_client import RestClient

url, password = os.environ["WIREGLOT_URL"], os.environ["WIREGLOT_PASSWORD"]
admin = RestClient(url)
PASSWORDS = "correct horse battery 5", "correct horse battery 6"


def strangers():
    nobody = RestClient(url)
    nobody.login("tenant@thingsboard.org", "wrong")
    refused(ApiException, 401, "Authentication failed", nobody.get_user)
    nobody.token_login("not.a.token")
    refused(ApiException, 401, "Authentication failed", nobody.get_tenant_devices, page_size=1, page=0)


def login():
    admin.login("tenant@thingsboard.org", password)
    user = admin.get_user()
    assert (user.email, user.authority) == ("tenant@thingsboard.org", "TENANT_ADMIN"), user
    first = admin.get_token()
    admin.refresh()
    assert admin.get_token() and admin.token_info["exp"] > START / 1000
    assert admin.get_user().email == user.email, first


def profiles():
    transport = {"type": "MQTT", "deviceTelemetryTopic": "up/telemetry", "deviceAttributesTopic": "up/attributes",
                 "transportPayloadTypeConfiguration": {"transportPayloadType": "JSON"}}
    data = {"configuration": {"type": "DEFAULT"}, "transportConfiguration": transport}
    profile = DeviceProfile(name="thermometer", type="DEFAULT", transport_type="MQTT", description="reads", profile_data=data)
    made = admin.save_device_profile(profile)
    assert (made.name, made.transport_type, made.default) == ("thermometer", "MQTT", False), made
    made.description = "reads temperatures"
    assert admin.save_device_profile(made).description == "reads temperatures"
    read = admin.get_device_profile_by_id(made.id)
    assert read.description == "reads temperatures" and read.created_time > START, read
    refused(ApiException, 400, "Device profile with such name already exists!", admin.save_device_profile, profile)
    infos = admin.get_device_profile_infos(page_size=10, page=0, text_search="THERMO")
    assert [info.name for info in infos.data] == ["thermometer"], infos
    assert admin.get_default_device_profile_info().name == "default"
    assert admin.get_device_profiles(page_size=1, page=0).has_next
    transport = {"type": "MQTT", "transportPayloadTypeConfiguration": {"transportPayloadType": "CODEC", "codec": "stamp"}}
    profile = DeviceProfile(name="coded", type="DEFAULT", transport_type="MQTT",
                            profile_data={"configuration": {"type": "DEFAULT"}, "transportConfiguration": transport})
    coded = admin.save_device_profile(profile)
    # The client's models know no codecs and drop the name of this one: sent back, it is refused and nothing is lost.
    refused(ApiException, 400, "codec", admin.save_device_profile, coded)
    admin.delete_device_profile(coded.id)
    refused(ApiException, 404, "Requested item", admin.get_device_profile_by_id, coded.id)
    return made


def devices(profile):
    refused(ApiException, 400, "Device name should be specified!", admin.save_device, DeviceBody())
    device = admin.save_device(DeviceBody(name="thermo-1", type="thermometer", label="Lobby",
                                          additional_info={"floor": 1}), access_token="THERMO-1")
    assert device.device_profile_id.id == profile.id.id and device.version is not None, device
    refused(ApiException, 400, "Device with such name already exists!", admin.save_device, DeviceBody(name="thermo-1"))
    another = admin.save_device(DeviceBody(name="thermo-1"), name_conflict_policy="UNIQUIFY")
    assert another.name.startswith("thermo-1_") and another.type == "default", another
    device.label = "Main hall"
    device = admin.save_device(device)
    read = admin.get_device_by_id(device.id)
    assert (read.label, read.additional_info, read.type) == ("Main hall", {"floor": 1}, "thermometer"), read
    info = admin.get_device_info_by_id(device.id)
    assert info.type == "thermometer" and info.active is False, info
    assert admin.get_tenant_device("thermo-1").id.id == device.id.id
    refused(ApiException, 404, "Requested item", admin.get_tenant_device, "nobody")
    refused(ApiException, 400, "Invalid UUID string: nonsense", admin.get_device_by_id, "nonsense")
    page = admin.get_tenant_devices(page_size=1, page=0, sort_property="name", sort_order="DESC")
    assert (page.total_elements, page.total_pages, page.has_next) == (2, 2, True), page
    assert [device.name for device in page.data] == [another.name], page
    page = admin.get_tenant_devices(page_size=9, page=0, type="thermometer", text_search="MAIN")
    assert [device.name for device in page.data] == ["thermo-1"], page
    refused(ApiException, 400, "Invalid sort property: nonsense", admin.get_tenant_devices, page_size=9, page=0,
            sort_property="nonsense")
    admin.delete_device(another.id)
    return device


def ready(device):
    """When the device last said that it is ready."""
    point = admin.get_latest_timeseries(device.id, keys="ready")["ready"][0]
    return point.ts if point.value == "true" else 0


def credentials(device):
    shown = admin.get_device_credentials_by_device_id(device.id)
    assert (shown.credentials_type, shown.credentials_id) == ("ACCESS_TOKEN", "THERMO-1"), shown
    with Device("THERMO-1") as before:
        before_change = eventually("it is ready", lambda: ready(device))
        eventually("it is active", lambda: admin.get_device_info_by_id(device.id).active is True)
        shown.credentials_id = "THERMO-2"
        assert admin.update_device_credentials(shown).credentials_id == "THERMO-2"
        before.ended()
    basic = {"clientId": "THERMO-2", "userName": "THERMO-2", "password": None}
    shown = admin.get_device_credentials_by_device_id(device.id)
    shown.credentials_type, shown.credentials_value = "MQTT_BASIC", json.dumps(basic)
    changed = admin.update_device_credentials(shown)
    assert changed.credentials_type == "MQTT_BASIC" and json.loads(changed.credentials_value) == basic, changed
    stolen = DeviceCredentials(device_id=device.id, credentials_type="MQTT_BASIC", credentials_id="", credentials_value="{")
    refused(ApiException, 400, "Invalid credentials body", admin.update_device_credentials, stolen)
    return before_change


def telemetry(device, before_change):
    latest = lambda *keys: admin.get_latest_timeseries(device.id, keys=",".join(keys), use_strict_data_types=True)
    eventually("the device is ready again", lambda: ready(device) > before_change)
    texts = admin.get_latest_timeseries(device.id, keys="temperature,on")
    shown = {key: (point.ts, point.value) for key, [point] in texts.items()}
    assert shown == {"temperature": (START + 9 * MINUTE, "29.5"), "on": (START + 9 * MINUTE, "false")}, shown
    assert latest("nobody")["nobody"][0].value is None
    assert {"on", "ready", "temperature"} <= set(admin.get_timeseries_keys_v1(device.id))
    end = START + 10 * MINUTE
    history = admin.get_timeseries(device.id, START, end, keys="temperature", limit=3, order_by="ASC")
    assert [point.value for point in history["temperature"]] == ["20.5", "21.5", "22.5"], history
    wanted = {"MIN": [20.5, 25.5], "MAX": [24.5, 29.5], "AVG": [22.5, 27.5], "SUM": [112.5, 137.5], "COUNT": [5, 5]}
    for kind, values in wanted.items():
        points = admin.get_timeseries(device.id, START, end, keys="temperature", agg=kind, interval=5 * MINUTE,
                                      use_strict_data_types=True)["temperature"]
        assert [point.value for point in points] == values, (kind, points)
        assert [point.ts for point in points] == [START + MINUTE * 5 // 2, START + MINUTE * 15 // 2], points
    refused(ApiException, 400, "MEDIAN", admin.get_timeseries, device.id, START, end, keys="temperature", agg="MEDIAN",
            interval=MINUTE)
    admin.save_entity_telemetry(device.id, "ANY", {"ts": START, "values": {"saved": 1}})
    admin.save_entity_telemetry_with_ttl(device.id, "ANY", 3600, {"saved": 2})
    assert latest("saved")["saved"][0].value == 2
    refused(ApiException, 400, "No timeseries data", admin.save_entity_telemetry, device.id, "ANY", {})


def deletes(device):
    end = START + 10 * MINUTE
    admin.delete_entity_timeseries(device.id, keys="temperature", start_ts=START, end_ts=START + 8 * MINUTE)
    left = admin.get_timeseries(device.id, START, end, keys="temperature", order_by="ASC")["temperature"]
    assert [point.value for point in left] == ["28.5", "29.5"], left
    admin.delete_entity_timeseries(device.id, keys="saved", delete_all_data_for_keys=True)
    assert "saved" not in admin.get_timeseries_keys_v1(device.id)
    refused(ApiException, 400, "eys", admin.delete_entity_timeseries, device.id, delete_all_data_for_keys=True)


def attributes(device):
    admin.save_device_attributes(device.id, "SHARED_SCOPE", {"interval": 60, "mode": "eco"})
    told = lambda: admin.get_latest_timeseries(device.id, keys="told", use_strict_data_types=True)["told"][0].value
    eventually("the device was told", lambda: told() == {"interval": 60, "mode": "eco"})
    admin.save_entity_attributes_v2(device.id, "SERVER_SCOPE", {"limits": {"max": 30.5}, "site": "north"})
    admin.save_entity_attributes_v1(device.id, "SERVER_SCOPE", {"checked": True})
    values = lambda found: {attribute.key: attribute.value for attribute in found}
    shown = values(admin.get_attributes_by_scope(device.id, "SERVER_SCOPE", keys="limits,checked"))
    assert shown == {"limits": {"max": 30.5}, "checked": True}, shown
    assert values(admin.get_attributes_by_scope(device.id, "CLIENT_SCOPE")) == {"model": "T-1"}
    shown = values(admin.get_attributes(device.id))
    assert shown["interval"] == 60 and shown["site"] == "north" and shown["model"] == "T-1", shown
    assert {"limits", "checked", "site"} <= set(admin.get_attribute_keys_by_scope(device.id, "SERVER_SCOPE"))
    assert {"model", "mode"} <= set(admin.get_attribute_keys(device.id))
    admin.delete_entity_attributes(device.id, "SHARED_SCOPE", keys="interval,nobody")
    eventually("the device was told", lambda: (told() or {}).get("deleted"))
    admin.delete_device_attributes(device.id, "SERVER_SCOPE", keys="limits")
    assert "limits" not in admin.get_attribute_keys_by_scope(device.id, "SERVER_SCOPE")
    for scope, words in (("CLIENT_SCOPE", "scope"), ("NO_SCOPE", "scope")):
        refused(ApiException, 400, words, admin.save_entity_attributes_v2, device.id, scope, {"a": 1})


def calls(device):
    call = {"method": "blink", "params": {"times": 3}, "timeout": 20_000}
    assert admin.handle_two_way_device_rpc_request(device.id, call) == {"method": "blink", "params": {"times": 3}}
    assert admin.handle_two_way_device_rpc_request_v1(device.id, call) == {"method": "blink", "params": {"times": 3}}
    called = lambda: admin.get_latest_timeseries(device.id, keys="called")["called"][0].value
    for one_way, method in ((admin.handle_one_way_device_rpc_request, "on"),
                            (admin.handle_one_way_device_rpc_request_v1, "off")):
        one_way(device.id, {"method": method, "params": None})
        eventually(f"the device was called to be {method}", lambda: called() == method)
    kept = admin.handle_two_way_device_rpc_request_v1(device.id, {"method": "count", "params": [1], "persistent": True})
    rpc_id = kept["rpcId"]
    rpc = eventually("it is answered", lambda: next(
        (rpc for rpc in [admin.get_persisted_rpc(rpc_id)] if rpc.status == "SUCCESSFUL"), None))
    assert rpc.response == {"method": "count", "params": [1]} and rpc.device_id.id == device.id.id, rpc
    page = admin.get_persisted_rpc_by_device(device.id, 10, 0, rpc_status="SUCCESSFUL")
    assert page["totalElements"] == 1, page
    admin.delete_rpc(rpc_id)
    refused(ApiException, 404, "Requested item", admin.get_persisted_rpc, rpc_id)
    refused(ApiException, 400, "method", admin.handle_two_way_device_rpc_request, device.id, {"params": 1})


def updates(device, profile):
    body = {"title": "app", "version": "1.0", "type": "FIRMWARE", "deviceProfileId": profile.id.to_dict(), "usesUrl": False}
    package = admin.save_ota_package_info(body)
    assert (package.title, package.tag, package.has_data) == ("app", "app 1.0", False), package
    refused(ApiException, 400, "already exists!", admin.save_ota_package_info, body)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "app.bin")
        with open(path, "wb") as file:
            file.write(IMAGE)
        refused(ApiException, 400, "Wrong otaPackage file", admin.save_ota_package_data, package.id, "SHA256", path,
                checksum="00ff")
        package = admin.save_ota_package_data(package.id, "SHA256", path)
    assert (package.has_data, package.data_size, package.file_name) == (True, len(IMAGE), "app.bin"), package
    assert admin.get_ota_package_info_by_id(package.id).checksum == package.checksum
    assert admin.get_ota_packages(page_size=9, page=0, text_search="APP").total_elements == 1
    assert admin.get_ota_packages_v1(profile.id, "FIRMWARE", page_size=9, page=0).data[0].version == "1.0"
    device = admin.get_device_by_id(device.id)
    device.firmware_id = package.id
    assert admin.save_device(device).firmware_id.id == package.id.id
    told = lambda: {a.key: a.value for a in admin.get_attributes_by_scope(device.id, "SHARED_SCOPE")}
    shown = eventually("the device is told", lambda: told().get("fw_version") and told())
    assert (shown["fw_title"], shown["fw_size"], shown["fw_checksum"]) == ("app", len(IMAGE), package.checksum), shown
    data = admin.download_ota_package(package.id)
    assert data == IMAGE or open(data, "rb").read() == IMAGE, data
    refused(ApiException, 400, "", admin.delete_ota_package, package.id)
    device = admin.get_device_by_id(device.id)
    device.firmware_id = None
    assert admin.save_device(device).firmware_id is None
    eventually("nothing is left of it", lambda: "fw_version" not in told())
    admin.delete_ota_package(package.id)
    refused(ApiException, 404, "Requested item", admin.get_ota_package_info_by_id, package.id)


def customers(device):
    customer = admin.save_customer(Customer(title="Hotel", email="desk@hotel"))
    assert admin.get_customer_by_id(customer.id).title == admin.get_tenant_customer("Hotel").title == "Hotel"
    page = admin.get_customers(page_size=9, page=0, text_search="HOT")
    assert [customer.email for customer in page.data] == ["desk@hotel"], page
    user = User(email="guest@hotel", authority="CUSTOMER_USER", customer_id=customer.id, first_name="G")
    made = admin.save_user(user, send_activation_mail=False)
    token = admin.get_activation_link(made.id).split("activateToken=")[1]
    admin.activate_user(ActivateUserRequest(activate_token=token, password=PASSWORDS[0]))
    guest = RestClient(url)
    guest.login("guest@hotel", PASSWORDS[0])
    pair = guest.change_password(ChangePasswordRequest(current_password=PASSWORDS[0], new_password=PASSWORDS[1]))
    assert pair.token, pair
    guest.login("guest@hotel", PASSWORDS[1])
    refused(ApiException, 403, "permission", guest.get_device_by_id, device.id)
    # Since 4.4 the client makes the customer the owner of what it assigns.
    assert admin.assign_device_to_customer(customer.id, device.id).customer_id.id == customer.id.id
    page = guest.get_customer_devices(customer.id, page_size=9, page=0)
    assert [device.name for device in page.data] == ["thermo-1"], page
    assert guest.get_device_by_id(device.id).name == "thermo-1"
    refused(ApiException, 403, "permission", guest.delete_device, device.id)
    infos = admin.get_tenant_device_infos(page_size=9, page=0, text_search="thermo")
    assert [info.name for info in infos.data] == ["thermo-1"], infos
    assert admin.unassign_device_from_customer(device.id).customer_id.id != customer.id.id
    refused(ApiException, 403, "permission", guest.get_device_by_id, device.id)
    with Device("THERMO-2", "open sesame"):
        eventually("it may be claimed", lambda: "claimable" in admin.get_timeseries_keys_v1(device.id))
        claimed = guest.claim_device_by_name("thermo-1", ClaimRequest(secret_key="open sesame"))
    assert "SUCCESS" in str(claimed), claimed
    assert guest.get_device_by_id(device.id).customer_id.id == customer.id.id
    guest.re_claim_device("thermo-1")
    admin.delete_user(made.id)
    refused(ApiException, 401, "Authentication failed", guest.get_user)
    admin.delete_customer(customer.id)
    refused(ApiException, 404, "Requested item", admin.get_customer_by_id, customer.id)


def keys(device):
    me = admin.get_user()
    key = admin.save_api_key(ApiKeyInfo(description="nightly report", enabled=True, expiration_time=0, user_id=me.id))
    report = RestClient(url)
    report.api_key_login(key.value)
    assert report.get_device_by_id(device.id).name == "thermo-1"
    page = admin.get_user_api_keys(me.id, page_size=9, page=0)
    assert [key.description for key in page.data] == ["nightly report"], page
    admin.enable_api_key(key.id, False)
    refused(ApiException, 401, "", report.get_device_by_id, device.id)
    admin.enable_api_key(key.id, True)
    assert report.get_user().email == me.email
    admin.delete_api_key(key.id)
    refused(ApiException, 401, "", report.get_device_by_id, device.id)


def endings(device, profile):
    refused(ApiException, 400, "", admin.delete_device_profile, profile.id)
    admin.delete_device(device.id)
    refused(ApiException, 404, "Requested item", admin.get_device_by_id, device.id)
    admin.delete_device_profile(profile.id)
    left = RestClient(url)
    left.token_login(admin.get_token())
    assert left.get_user().email == "tenant@thingsboard.org"
    admin.logout()
    refused(ApiException, 401, "Authentication failed", left.get_user)


if __name__ == "__main__":
    strangers()
    login()
    profile = profiles()
    device = devices(profile)
    before_change = credentials(device)
    with Device("THERMO-2"):
        telemetry(device, before_change)
        attributes(device)
        calls(device)
        updates(device, profile)
        deletes(device)
    customers(device)
    keys(device)
    endings(device, profile)
