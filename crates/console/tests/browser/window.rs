//! A window of the browser.

use std::env;
use std::path::Path;
use std::time::Duration;

use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

/// A test that would hang is to fail.
const LONG: Duration = Duration::from_secs(30);

pub struct Window {
    pub client: Client,
}

/// What the browser has written into its console.
#[derive(Debug)]
struct ConsoleLog;

impl WebDriverCompatibleCommand for ConsoleLog {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

impl Window {
    pub async fn open() -> Self {
        Self::with(json!({})).await
    }

    pub async fn without_javascript() -> Self {
        Self::with(json!({ "profile.managed_default_content_settings.javascript": 2 })).await
    }

    async fn with(preferences: Value) -> Self {
        let driver = env::var("WEBDRIVER_URL").expect("run it by scripts/with-browser");
        let mut capabilities = Capabilities::new();
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"],
            "prefs": preferences,
        });
        capabilities.insert("goog:chromeOptions".into(), options);
        capabilities.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
        let mut builder =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities);
        let client = builder.connect(&driver).await.expect("a browser");
        Self { client }
    }

    pub async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> fantoccini::elements::Element {
        let wait = self.client.wait().at_most(LONG);
        let found = wait.for_element(Locator::Css(css)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("no `{css}`: {error}\n{}", self.text().await),
        }
    }

    /// Waits for a link or a button with this text.
    pub async fn named(&self, text: &str) -> fantoccini::elements::Element {
        let path = format!("//*[self::a or self::button][normalize-space(.)='{text}']");
        let wait = self.client.wait().at_most(LONG);
        match wait.for_element(Locator::XPath(&path)).await {
            Ok(element) => element,
            Err(error) => panic!("nothing is called `{text}`: {error}\n{}", self.text().await),
        }
    }

    pub async fn click(&self, text: &str) {
        self.named(text).await.click().await.unwrap();
    }

    /// Chooses the value of a list, or types it.
    pub async fn fill(&self, css: &str, value: &str) {
        let field = self.find(css).await;
        match field.tag_name().await.unwrap().as_str() {
            "select" => field.select_by_value(value).await.unwrap(),
            _ => {
                field.clear().await.unwrap();
                field.send_keys(value).await.unwrap();
            }
        }
    }

    /// What the page says.
    pub async fn text(&self) -> String {
        match self.client.find(Locator::Css("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    /// Waits until the page says this.
    pub async fn says(&self, text: &str) {
        let quoted = format!("//body[contains(normalize-space(.), \"{text}\")]");
        let wait = self.client.wait().at_most(LONG);
        if wait.for_element(Locator::XPath(&quoted)).await.is_err() {
            panic!("the page does not say `{text}`:\n{}", self.text().await);
        }
    }

    pub async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.unwrap().len()
    }

    /// What the browser complained of since the last call: a script that failed or that
    /// the policy of the page does not allow, a file that is not there.
    pub async fn complaints(&self) -> Vec<String> {
        let log: Result<Value, CmdError> = self.client.issue_cmd(ConsoleLog).await;
        let log = log.unwrap();
        let entries = log.as_array().unwrap().iter();
        let entries = entries.filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        entries
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Keeps a picture of the whole page, where SCREENSHOTS names a folder.
    pub async fn picture(&self, name: &str) {
        let Ok(folder) = env::var("SCREENSHOTS") else {
            return;
        };
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }

    /// Ends the test: no complaint is left, and the browser is closed.
    pub async fn close(self) {
        assert_eq!(self.complaints().await, Vec::<String>::new());
        self.client.close().await.unwrap();
    }
}
