//! What an operator does, in a real browser: `scripts/with-browser cargo test -p
//! diesel_status_console --test browser`.

#[path = "browser/accessibility.rs"]
mod accessibility;
#[path = "browser/demo.rs"]
mod demo;
#[path = "browser/errands.rs"]
mod errands;
#[path = "browser/hostile.rs"]
mod hostile;
#[path = "support/pages.rs"]
mod pages;
#[path = "browser/served.rs"]
mod served;
#[path = "browser/window.rs"]
mod window;
