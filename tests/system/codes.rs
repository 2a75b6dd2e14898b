//! A box without mail server: the code is read off the screen, after a press, and stands nowhere else.

use appliance::screen::{CodePage, draw_code};
use control::{Status, SystemStatus};
use platform::ShownCode;
use platform::screen::{Frame, HEIGHT, WIDTH};
use serde_json::json;

use crate::harness::{Perch, Person, wait_for};
use crate::http::ask;

/// Where the screen draws the code: eleven cells of 7 x 13 pixels in the middle, below the title.
const LEFT: usize = 25;
const TOP: usize = 11;
const CELL: (usize, usize) = (7, 13);
const LETTERS: usize = 11;

/// What the screen shows now, from the panel's picture of it.
fn screen(perch: &Perch) -> Frame {
    let answer = ask(perch.ports.panel, "GET", "/screen.png", &[], b"").unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(answer.body)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let scale = usize::try_from(info.width).unwrap() / WIDTH;
    let mut frame = Frame::new();
    for (x, y) in (0..WIDTH).flat_map(|x| (0..HEIGHT).map(move |y| (x, y))) {
        let byte = pixels[y * scale * info.line_size + x * scale / 8];
        frame.set(x, y, byte & (0x80 >> (x * scale % 8)) != 0);
    }
    frame
}

fn cell(frame: &Frame, number: usize) -> Vec<bool> {
    let pixels = (0..CELL.1).flat_map(|y| (0..CELL.0).map(move |x| (x, y)));
    pixels.map(|(x, y)| frame.get(LEFT + number * CELL.0 + x, TOP + y)).collect()
}

/// Reads the code as a person does; `None` when none is shown.
fn read_code(frame: &Frame) -> Option<String> {
    let drawn = |letter: char| {
        let code = ShownCode::new(letter.to_string().repeat(LETTERS));
        let page = CodePage::Show { purpose: "x", account: "x".to_owned(), code, left_s: 1 };
        draw_code(&page, &Status::default())
    };
    let known: Vec<(char, Frame)> =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567-".chars().map(|c| (c, drawn(c))).collect();
    let letter = |number| {
        let seen = cell(frame, number);
        known.iter().find(|(_, known)| cell(known, number) == seen).map(|(letter, _)| *letter)
    };
    let code: String = (0..LETTERS).map(letter).collect::<Option<String>>()?;
    (code.find('-') == Some(5)).then_some(code)
}

/// Asks for a code at the box, presses the button and reads it.
fn code_for(perch: &mut Perch, person: &Person, method: &str, purpose: &'static str) -> String {
    let system = SystemStatus { simulation: true, ..SystemStatus::default() };
    let question = CodePage::Ask { purpose, account: "alice.test".to_owned() };
    let question = draw_code(&question, &Status { system, ..Status::default() });
    assert_eq!(person.call(method, &json!({})).unwrap().code, 200);
    wait_for("the question", || (screen(perch) == question).then_some(()));
    assert_eq!(read_code(&screen(perch)), None, "nothing is shown before the press");
    perch.tell("button short");
    wait_for("the code", || read_code(&screen(perch)))
}

#[test]
fn without_mail_the_code_is_read_off_the_screen_and_stands_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut perch = Perch::start(folder.path());
    let alice = perch.join("alice.test");
    let code = code_for(
        &mut perch,
        &alice,
        "com.atproto.server.requestEmailConfirmation",
        "confirm the e-mail address",
    );
    for text in [perch.status().to_string(), perch.page(), perch.heard()] {
        assert!(!text.contains(&code), "{code} in {text}");
    }
    perch.tell("button short");
    wait_for("the end of the code", || read_code(&screen(&perch)).is_none().then_some(()));
    let body = json!({ "email": "alice.test@example.com", "token": code });
    assert_eq!(alice.call("com.atproto.server.confirmEmail", &body).unwrap().code, 200);
    assert_eq!(alice.call("com.atproto.server.confirmEmail", &body).unwrap().code, 400, "it works once");

    let code = code_for(&mut perch, &alice, "com.atproto.server.requestAccountDelete", "DELETE THE ACCOUNT");
    let body = json!({ "did": alice.did, "password": crate::harness::PASSWORD, "token": code });
    assert_eq!(alice.call("com.atproto.server.deleteAccount", &body).unwrap().code, 200);
    perch.terminate();
}
