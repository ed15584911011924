//! Figures by service and span name over HTTP.

use serde_json::{Value, json};

use super::app::{App, done, put};

#[tokio::test]
async fn operations_are_listed_by_service_and_name() {
    let app = App::start().await;
    for number in 1..=3 {
        put(&app.live, done(number, "query rows", 16));
    }
    let [started, _ended] = done(4, "checkout", 1);
    put(&app.live, [started]);
    let page = app.json("/operations").await;
    let row_values = |page: &Value| {
        let keys = [
            "service",
            "name",
            "count",
            "errors",
            "errorShare",
            "running",
        ];
        let rows = page["operations"].as_array().unwrap().iter();
        let rows = rows.map(|row| keys.map(|key| row[key].clone()));
        rows.collect::<Vec<_>>()
    };
    let query = [
        json!("shop"),
        json!("query rows"),
        json!(3),
        json!(0),
        json!(0.0),
        json!(0),
    ];
    let checkout = [
        json!("shop"),
        json!("checkout"),
        json!(0),
        json!(0),
        json!(0.0),
        json!(1),
    ];
    assert_eq!(row_values(&page), [query.clone(), checkout.clone()]);
    let slowest = page["operations"][0]["slowest"].clone();
    assert!(
        page["operations"][0]["last"]
            .as_array()
            .unwrap()
            .contains(&slowest)
    );
    assert_eq!(page["operations"][1]["slowest"], Value::Null);
    let rest = ["more", "others", "bucketSeconds", "recentSeconds", "unit"];
    assert_eq!(
        rest.map(|key| page[key].clone()),
        [json!(0), json!(0), json!(15), json!(150), json!("ms")]
    );
    let found = |path: &'static str| {
        let app = &app;
        async move { row_values(&app.json(path).await) }
    };
    assert_eq!(
        found("/operations?limit=1").await,
        std::slice::from_ref(&query)
    );
    assert_eq!(found("/operations?name=checkout").await, [checkout]);
    assert_eq!(found("/operations?q=ROWS&service=shop").await, [query]);
    assert_eq!(
        found("/operations?service=other").await,
        [] as [[Value; 6]; 0]
    );
    let refused = app.get("/operations?q=state:ok").await;
    assert_eq!(refused.status(), 400);
    assert_eq!(
        refused.json::<Value>().await.unwrap(),
        json!({"error": "operations are searched by text, name, service and kind only"})
    );
}
