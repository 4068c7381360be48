//! Histories, aggregation and deletion of time series; what attributes are read as; what a deleted device leaves.

use axum::body::Body;
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};
use wireglot_bus::{Event, FeedItem, Filter, Kinds};
use wireglot_model::limits::{
    ERASURES_MAX, HISTORY_ANSWER_BYTES_MAX, HISTORY_INTERVALS_MAX, HISTORY_POINTS_MAX,
};
use wireglot_model::{Measurement, Sample, Timestamp};

use super::Site;
use wireglot_device::now;

struct Series {
    site: Site,
    id: String,
    path: String,
}

impl Series {
    async fn new() -> Self {
        let site = Site::new().await;
        let id = site.device("d").await;
        let path = format!("/api/plugins/telemetry/DEVICE/{id}");
        Self { site, id, path }
    }

    async fn save(&self, body: Value) {
        self.site.post(&format!("{}/timeseries/ANY", self.path), body).await;
    }

    /// Many points in one batch, past the bound of a request's body.
    async fn fill(&self, points: impl Iterator<Item = (i64, wireglot_model::Value)>) {
        let measured = points.map(|(ts, value)| Measurement {
            ts: Some(Timestamp(ts)),
            samples: vec![Sample { key: "a".into(), value }],
        });
        let device = self.id.parse().unwrap();
        self.site.api.devices.save_telemetry(device, measured.collect(), now()).await.unwrap();
    }

    /// The answer to a query, as it is written.
    async fn read(&self, query: &str) -> String {
        self.site.get(&format!("{}/values/timeseries?{query}", self.path)).await.to_string()
    }

    async fn refused(&self, query: &str, words: &str) {
        for path in ["values/timeseries", "values/timeseries/history"] {
            let path = format!("{}/{path}?{query}", self.path);
            self.site.refused(Method::GET, &path, Body::empty(), 400, 31, words).await;
        }
    }

    async fn delete(&self, query: &str) -> u16 {
        let path = format!("{}/timeseries/delete?{query}", self.path);
        self.site.call(Method::DELETE, &path, Body::empty()).await.0.as_u16()
    }
}

#[tokio::test]
async fn a_month_of_minutes_is_aggregated_as_a_whole() {
    const MINUTE: i64 = 60_000;
    let series = Series::new().await;
    let minutes = 30 * 24 * 60;
    series.fill((0..minutes).map(|minute| (minute * MINUTE, wireglot_model::Value::Long(minute)))).await;
    let end = minutes * MINUTE;
    let read = async |function: &str, interval: i64| {
        let query = format!(
            "keys=a&startTs=0&endTs={end}&agg={function}&interval={interval}&useStrictDataTypes=true"
        );
        serde_json::from_str::<Value>(&series.read(&query).await).unwrap()["a"].clone()
    };
    let total = minutes * (minutes - 1) / 2;
    for (function, value) in [
        ("COUNT", json!(minutes)),
        ("SUM", json!(total)),
        ("MIN", json!(0)),
        ("MAX", json!(minutes - 1)),
        ("AVG", json!((minutes - 1) as f64 / 2.0)),
    ] {
        assert_eq!(read(function, end).await, json!([{"ts": end / 2, "value": value}]), "{function}");
    }
    let days = read("COUNT", 24 * 60 * MINUTE).await;
    assert_eq!(days.as_array().unwrap().len(), 30);
    assert!(days.as_array().unwrap().iter().all(|day| day["value"] == 24 * 60), "{days}");
    assert_eq!(days[1]["ts"], 36 * 60 * MINUTE);
}

#[tokio::test]
async fn a_range_is_cut_at_the_calendar_of_a_time_zone() {
    let series = Series::new().await;
    // 2024-01-31T22:30Z is the first of February in Athens (UTC+2 in winter), and 2024-03-31T21:30Z the first of April.
    for ts in [1_706_740_200_000_i64, 1_711_920_600_000, 1_711_917_000_000] {
        series.save(json!({"ts": ts, "values": {"a": 1}})).await;
    }
    let count = async |more: &str| {
        let query = format!("keys=a&startTs=1704067200000&endTs=1719792000000&agg=COUNT&{more}");
        let found: Value = serde_json::from_str(&series.read(&query).await).unwrap();
        let points = found["a"].as_array().unwrap();
        points.iter().map(|point| point["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(count("intervalType=MONTH").await, "1 2");
    assert_eq!(count("intervalType=MONTH&timeZone=Europe/Athens").await, "1 1 1");
    assert_eq!(count("intervalType=MONTH&timeZone=UTC%2B02:00").await, "1 2");
    assert_eq!(count("intervalType=QUARTER").await, "3");
    assert_eq!(count("intervalType=QUARTER&timeZone=Europe/Athens").await, "2 1");
    // 2024-03-31 is a Sunday: a week begins or ends with it.
    assert_eq!(count("intervalType=WEEK").await, "1 2");
    assert_eq!(count("intervalType=WEEK_ISO&interval=0").await, "1 2");
    assert_eq!(count("intervalType=WEEK_ISO&timeZone=Europe/Athens").await, "1 1 1");
    assert_eq!(count("intervalType=MILLISECONDS&interval=99999999999").await, "3");
}

#[tokio::test]
async fn limit_and_order_count_for_points_only() {
    let series = Series::new().await;
    for ts in 0..5 {
        series.save(json!({"ts": 10 * ts, "values": {"a": ts, "b,c": 0.5}})).await;
    }
    let ascending = series.read("keys=a&startTs=0&endTs=50&limit=2&orderBy=ASC").await;
    assert_eq!(ascending, r#"{"a":[{"ts":0,"value":"0"},{"ts":10,"value":"1"}]}"#);
    let descending = series.read("keys=a&startTs=0&endTs=40&limit=2").await;
    assert_eq!(descending, r#"{"a":[{"ts":30,"value":"3"},{"ts":20,"value":"2"}]}"#);
    for order in ["ASC", "DESC"] {
        let sums = series
            .read(&format!("keys=a&startTs=0&endTs=45&agg=SUM&interval=20&limit=1&orderBy={order}"))
            .await;
        let expected = r#"{"a":[{"ts":10,"value":"1"},{"ts":30,"value":"5"},{"ts":42,"value":"4"}]}"#;
        assert_eq!(sums, expected, "{order}");
    }
    let with_comma = series.read("key=b,c&key=a&startTs=40&endTs=41&useStrictDataTypes=true").await;
    let with_comma: Value = serde_json::from_str(&with_comma).unwrap();
    assert_eq!(with_comma, json!({"b,c": [{"ts": 40, "value": 0.5}], "a": [{"ts": 40, "value": 4}]}));
    assert_eq!(series.read("keys=none&startTs=0&endTs=99").await, "{}", "keys without points are left out");
    assert_eq!(series.read("keys=a&startTs=50&endTs=50").await, "{}");
    assert_eq!(series.read("keys=a&startTs=9&endTs=-9&agg=AVG&interval=1").await, "{}");
    let range = format!("startTs={}&endTs={}", i64::MIN, i64::MAX);
    assert_eq!(
        series.read(&format!("keys=a&{range}&agg=COUNT&interval={}", i64::MAX)).await.matches("ts").count(),
        1
    );
}

#[tokio::test]
async fn bad_questions_name_what_is_wrong() {
    let series = Series::new().await;
    for (query, words) in [
        ("startTs=0&endTs=9&agg=MEDIAN&interval=1", "Unsupported aggregation 'MEDIAN'; there are MIN"),
        (
            "startTs=0&endTs=9&agg=AVG&intervalType=YEAR",
            "Unsupported interval type 'YEAR'; there are MILLISECONDS",
        ),
        ("startTs=0&endTs=9&agg=AVG&interval=-1", "'interval' must not be negative"),
        ("startTs=0&endTs=9&agg=AVG&interval=x", "Invalid value of parameter 'interval': x"),
        (
            "startTs=0&endTs=9&agg=AVG&intervalType=WEEK&timeZone=Mars",
            "There is no time zone 'Mars'; write a region",
        ),
        ("startTs=0&endTs=9&limit=0", "'limit' must be greater than 0"),
        ("startTs=0&endTs=9&limit=-1", "Invalid value of parameter 'limit': -1"),
        ("startTs=0&endTs=9&orderBy=UP", "Unsupported order 'UP'; there are ASC and DESC"),
        ("startTs=x&endTs=9", "Invalid value of parameter 'startTs': x"),
    ] {
        series.refused(query, words).await;
    }
    let end = HISTORY_INTERVALS_MAX * 1_000;
    let query = format!("keys=a&startTs=0&endTs={end}&agg=AVG&interval=1000");
    assert_eq!(series.read(&query).await, "{}", "as many as there may be");
    let words = format!("Number of intervals is too high: {}, and there may be", HISTORY_INTERVALS_MAX + 1);
    series.refused(&query.replace(&format!("endTs={end}"), &format!("endTs={}", end + 1)), &words).await;
    let for_ever = format!("startTs={}&endTs={}&agg=AVG&intervalType=WEEK", i64::MIN, i64::MAX);
    series.refused(&for_ever, "Number of intervals is too high").await;
    let unknown = "/api/plugins/telemetry/DEVICE/13814000-1dd2-11b2-8080-808080808080";
    for rest in
        ["keys/timeseries", "values/timeseries", "values/timeseries?startTs=0&endTs=9", "values/attributes"]
    {
        series.site.refused(Method::GET, &format!("{unknown}/{rest}"), Body::empty(), 404, 32, "").await;
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_says_so() {
    let series = Series::new().await;
    let points = HISTORY_POINTS_MAX as i64;
    series.fill((0..=points).map(|ts| (ts, wireglot_model::Value::Bool(true)))).await;
    let all = format!("keys=a&startTs=0&endTs={}&limit=", points + 1);
    assert_eq!(series.read(&format!("{all}{points}")).await.matches("\"ts\"").count(), HISTORY_POINTS_MAX);
    let words = format!("An answer has at most {HISTORY_POINTS_MAX} points");
    series.refused(&format!("{all}{}", points + 1), &words).await;
    let text = "x".repeat(200_000);
    let texts = (0..=HISTORY_ANSWER_BYTES_MAX / text.len()).map(|ts| 1_000_000 + ts as i64);
    series.fill(texts.map(|ts| (ts, wireglot_model::Value::Text(text.clone())))).await;
    series.refused("keys=a&startTs=1000000&endTs=2000000&limit=1000", "bytes: ask for fewer keys").await;
    assert_eq!(series.read("keys=a&startTs=1000000&endTs=1000009").await.matches("\"ts\"").count(), 9);
    let texts = "keys=a&startTs=1000000&endTs=2000000&agg=MAX&interval=1000000";
    assert_eq!(series.read(texts).await.matches("\"ts\"").count(), 1, "what is aggregated is not held");
}

#[tokio::test]
async fn ranges_are_deleted_and_latest_values_follow() {
    let series = Series::new().await;
    let fill = async || {
        for ts in [1_000, 2_000, 3_000] {
            series.save(json!({"ts": ts, "values": {"a": ts, "b": ts}})).await;
        }
    };
    let points = async |key: &str| {
        series.read(&format!("keys={key}&startTs=0&endTs=9999")).await.matches("ts").count()
    };
    let latest = async || series.read("useStrictDataTypes=true").await;
    fill().await;
    assert_eq!(series.delete("keys=a&startTs=2000&endTs=3000").await, 200);
    assert_eq!((points("a").await, points("b").await), (2, 3));
    assert_eq!(latest().await, r#"{"a":[{"ts":3000,"value":3000}],"b":[{"ts":3000,"value":3000}]}"#);

    assert_eq!(series.delete("keys=a&startTs=3000&endTs=3001&deleteLatest=false").await, 200);
    assert_eq!(points("a").await, 1);
    assert_eq!(latest().await, r#"{"a":[{"ts":3000,"value":3000}],"b":[{"ts":3000,"value":3000}]}"#);

    assert_eq!(series.delete("key=b&startTs=2500&endTs=3001&rewriteLatestIfDeleted=true").await, 200);
    assert_eq!(latest().await, r#"{"a":[{"ts":3000,"value":3000}],"b":[{"ts":2000,"value":2000}]}"#);

    assert_eq!(series.delete("keys=a,unknown&startTs=0&endTs=9999").await, 200);
    assert_eq!(points("a").await, 0);
    assert_eq!(series.site.get(&format!("{}/keys/timeseries", series.path)).await, json!(["b"]));

    fill().await;
    assert_eq!(series.delete("keys=a,b&deleteAllDataForKeys=true&rewriteLatestIfDeleted=true").await, 200);
    assert_eq!(latest().await, "{}");
    series.save(json!({"ts": 1_500, "values": {"a": 7}})).await;
    assert_eq!(latest().await, r#"{"a":[{"ts":1500,"value":7}]}"#, "what comes later stays");
}

#[tokio::test]
async fn more_deletions_than_are_let_in_take_turns() {
    let series = Series::new().await;
    let times = 0..i64::try_from(2 * ERASURES_MAX + 1).unwrap();
    series.fill(times.clone().map(|ts| (ts, wireglot_model::Value::Long(ts)))).await;
    let queries: Vec<String> = times.map(|ts| format!("keys=a&startTs={ts}&endTs={}", ts + 1)).collect();
    let answers = join_all(queries.iter().map(|query| series.delete(query))).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(series.read("keys=a&startTs=0&endTs=99").await, "{}");
    assert_eq!(series.site.api.erasures.available_permits(), ERASURES_MAX);
}

#[tokio::test]
async fn a_deletion_without_keys_or_a_range_is_refused() {
    let series = Series::new().await;
    for (query, words) in [
        ("deleteAllDataForKeys=true", "Empty keys: []"),
        ("keys=,&deleteAllDataForKeys=true", "Empty keys: []"),
        ("keys=a", "When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty"),
        ("keys=a&startTs=1", "shouldn't be empty"),
        ("keys=a&startTs=1&endTs=0", "'startTs' must not be after 'endTs'"),
        ("keys=a&startTs=1&endTs=x", "Invalid value of parameter 'endTs': x"),
        ("keys=a&startTs=1&endTs=2&deleteLatest=maybe", "Invalid value of parameter 'deleteLatest': maybe"),
    ] {
        let path = format!("{}/timeseries/delete?{query}", series.path);
        series.site.refused(Method::DELETE, &path, Body::empty(), 400, 31, words).await;
    }
    let nothing = format!("keys=a&startTs={0}&endTs={0}", i64::MIN);
    assert_eq!(series.delete(&nothing).await, 200);
    let unknown = series.path.replace(&series.id, "13814000-1dd2-11b2-8080-808080808080");
    let unknown = format!("{unknown}/timeseries/delete?keys=a&deleteAllDataForKeys=true");
    series.site.refused(Method::DELETE, &unknown, Body::empty(), 404, 32, "").await;
}

#[tokio::test]
async fn saved_telemetry_is_told_and_its_ttl_is_checked() {
    let series = Series::new().await;
    let mut listener = series.site.api.bus.feed(Filter::of(Kinds::TELEMETRY));
    series
        .site
        .post(
            &format!("{}/timeseries/LATEST_TELEMETRY/86400", series.path),
            json!({"ts": 5, "values": {"a": 1}}),
        )
        .await;
    let FeedItem::Event(told) = listener.recv().await else { panic!("what is saved is told") };
    let Event::Telemetry { device_name, ts, samples, .. } = &*told else { panic!("{told:?}") };
    assert_eq!((&**device_name, *ts, samples.len()), ("d", Timestamp(5), 1));
    for (ttl, words) in [("soon", "Invalid time to live: 'soon'"), ("-1", "Invalid time to live: '-1'")] {
        let path = format!("{}/timeseries/ANY/{ttl}", series.path);
        series.site.refused(Method::POST, &path, r#"{"a":1}"#, 400, 31, words).await;
    }
    for (body, words) in [
        ("{a:1,b:null}", "b: a value must not be null"),
        (r#"{"a":"#, "Unable to parse timeseries payload: not JSON"),
        ("[]", "No timeseries data found in request body!"),
    ] {
        let path = format!("{}/timeseries/ANY", series.path);
        series.site.refused(Method::POST, &path, body, 400, 31, words).await;
    }
}

#[tokio::test]
async fn attributes_keep_the_type_that_json_gave_them() {
    let series = Series::new().await;
    let path = format!("{}/attributes/SERVER_SCOPE", series.path);
    let body = r#"{"text":"5","long":5,"double":5.0,"flag":false,"json":{"a":[1,null]},"none":null}"#;
    let header = format!("Bearer {}", series.site.token);
    let headers = [("x-authorization", header.as_str()), ("content-type", "text/plain")];
    assert_eq!(series.site.call_as(&headers, Method::POST, &path, body).await.0.as_u16(), 200);
    let found = series.site.get(&format!("{}/values/attributes/SERVER_SCOPE", series.path)).await;
    let found: Vec<String> = found.as_array().unwrap().iter().map(|one| one["value"].to_string()).collect();
    assert_eq!(found, ["5.0", "false", r#"{"a":[1,null]}"#, "5", r#""5""#], "by key");
    for (body, words) in [
        ("{}", "No attributes data found in request body!"),
        (r#"{"none":null}"#, "No attributes data found in request body!"),
        (r#"{" ":1}"#, "a key has 1 to"),
        ("\"x\"", "Request is not a JSON object"),
        ("", "Unable to parse attributes: not JSON"),
    ] {
        series.site.refused(Method::POST, &path, body, 400, 31, words).await;
    }
}

#[tokio::test]
async fn a_deleted_device_is_not_found_anywhere() {
    let series = Series::new().await;
    series.save(json!({"a": 1})).await;
    let delete = format!("/api/device/{}", series.id);
    assert_eq!(series.site.call(Method::DELETE, &delete, Body::empty()).await.0.as_u16(), 200);
    for (method, rest) in [
        (Method::GET, "keys/timeseries"),
        (Method::GET, "keys/timeseries/descriptions"),
        (Method::GET, "values/timeseries?keys=a"),
        (Method::GET, "values/timeseries?startTs=0&endTs=9"),
        (Method::GET, "values/attributes"),
        (Method::GET, "keys/attributes/SHARED_SCOPE"),
        (Method::DELETE, "timeseries/delete?keys=a&deleteAllDataForKeys=true"),
        (Method::DELETE, "SHARED_SCOPE?keys=a"),
    ] {
        let path = format!("{}/{rest}", series.path);
        series.site.refused(method, &path, Body::empty(), 404, 32, "").await;
    }
}

#[tokio::test]
async fn readers_wait_for_their_turn_and_leave_it_when_they_go() {
    let series = Series::new().await;
    series.save(json!({"ts": 5, "values": {"a": 1}})).await;
    let long = &series.site.api.long_reads;
    let held = [long.turn().await.unwrap(), long.turn().await.unwrap()];
    let history = series.read("keys=a&startTs=0&endTs=9");
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), history).await;
    assert!(waited.is_err(), "all turns are taken");
    assert_eq!(
        series.read("keys=a").await,
        r#"{"a":[{"ts":5,"value":"1"}]}"#,
        "latest values have turns of their own"
    );
    drop(held);
    assert_eq!(series.read("keys=a&startTs=0&endTs=9").await, r#"{"a":[{"ts":5,"value":"1"}]}"#);
}
