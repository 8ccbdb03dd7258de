//! What an operator does, in a real browser: `scripts/with-browser cargo test -p
//! diesel_status_console --test browser`.

#[path = "browser/accessibility.rs"]
mod accessibility;
#[path = "browser/errands.rs"]
mod errands;
#[path = "browser/hostile.rs"]
mod hostile;
#[path = "browser/served.rs"]
mod served;
#[path = "browser/window.rs"]
mod window;
