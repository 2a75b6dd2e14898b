//! What the 128x64 OLED shows: from status to pixels, without any device.
//!
//! [`draw`] is a pure function; the same frame goes to the OLED, the panel page, the terminal and the golden tests.
//! Nothing here talks to a bus, a file or a clock.

mod canvas;
mod codes;
mod pages;
mod qr;
#[cfg(test)]
mod tests;
mod trouble;
mod view;
mod words;

use control::Status;
use control::request::Deed;
use platform::screen::Frame;

use crate::front::presence::DeedPage;

pub use codes::{ASK_MS, CodeDesk, CodePage, SHOW_MS, draw_code};
pub use trouble::{Kind, TITLE_COLUMNS, Trouble, troubles};
pub use view::{BLANK_AFTER_MS, Event, RETURN_AFTER_MS, Shown, View};
pub use words::{age, count, drift, size, span, time_server, vote};

/// A page of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// One of the present troubles, counted from the worst.
    Trouble(u8),
    /// Where to look with a browser, with a QR code.
    SetUp,
    /// Who this box is and whether all is well.
    Home,
    /// The clock and who vouches for it.
    Time,
    /// The network and the relays.
    Network,
    /// The data disk.
    Storage,
    /// How to restart the box and how to switch it off.
    Power,
    /// How to erase everything.
    Reset,
}

/// No page has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no page {0:?}; the pages are trouble, set-up, home, network, time, storage, power, reset")]
pub struct UnknownPage(pub String);

impl std::str::FromStr for Page {
    type Err = UnknownPage;

    fn from_str(name: &str) -> Result<Self, UnknownPage> {
        match name {
            "trouble" => Ok(Self::Trouble(0)),
            "set-up" | "setup" => Ok(Self::SetUp),
            "home" => Ok(Self::Home),
            "network" => Ok(Self::Network),
            "time" => Ok(Self::Time),
            "storage" => Ok(Self::Storage),
            "power" => Ok(Self::Power),
            "reset" => Ok(Self::Reset),
            other => Err(UnknownPage(other.to_owned())),
        }
    }
}

/// Draws `page`. A trouble that is over draws as home.
pub fn draw(page: Page, status: &Status) -> Frame {
    let found = troubles(status);
    match page {
        Page::Trouble(number) => {
            let corner =
                if found.len() > 1 { format!("{}/{}", number + 1, found.len()) } else { String::new() };
            match found.get(usize::from(number)) {
                Some(trouble) => pages::trouble(status, trouble, &corner),
                None => pages::home(status),
            }
        }
        Page::SetUp => pages::set_up(status),
        Page::Home => pages::home(status),
        Page::Network => pages::network(status),
        Page::Time => pages::time(status),
        Page::Storage => pages::storage(status),
        Page::Power => pages::power(status),
        Page::Reset => pages::reset(status),
    }
}

/// The button is being held, and what that will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it will do.
    pub does: Deed,
    /// Seconds until then.
    pub left_s: u64,
}

/// Draws what holding the button on will do.
pub fn draw_hold(hold: &Hold, status: &Status) -> Frame {
    pages::hold(status, &hold.does, hold.left_s)
}

/// Draws a deed that waits for its owner.
pub fn draw_deed(page: &DeedPage, status: &Status) -> Frame {
    pages::deed(status, page)
}

/// Draws what `view` shows.
pub fn draw_shown(shown: Shown, status: &Status) -> Frame {
    match shown {
        Shown::Page(page) => draw(page, status),
        Shown::Blank => Frame::default(),
    }
}

/// Counts the lines of the screen that a text takes, however many it has room for.
#[cfg(test)]
pub(crate) fn lines_of(text: &str) -> usize {
    /// More than any text takes.
    const MANY: usize = 50;
    words::wrap(text, pages::COLUMNS, MANY).len()
}
