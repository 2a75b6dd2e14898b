//! Which bytes of a display's memory must be sent so that it shows another picture. Pure.

use platform::{Frame, screen};

/// Pages of eight rows.
pub(super) const PAGES: usize = screen::HEIGHT / 8;

/// A picture in the order of a display's memory: page by page, a byte is eight rows of one column, the upper in bit 0.
pub(super) type Pages = [[u8; screen::WIDTH]; PAGES];

/// Columns of one page that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) page: usize,
    /// First column.
    pub(super) from: usize,
    /// Column after the last.
    pub(super) to: usize,
}

/// Unchanged columns that are sent along, because moving the pointer costs as many bytes: address, control byte and
/// pointer commands of the dearer controller, and the head of another data message.
const GAP_COLUMNS_MAX: usize = 12;

/// Puts a picture into the order of the memory.
pub(super) fn pages(frame: &Frame) -> Pages {
    let mut pages = [[0; screen::WIDTH]; PAGES];
    for (page, bytes) in pages.iter_mut().enumerate() {
        for (x, byte) in bytes.iter_mut().enumerate() {
            for row in 0..8 {
                if frame.get(x, page * 8 + row) {
                    *byte |= 1 << row;
                }
            }
        }
    }
    pages
}

/// What to send so that `old` becomes `new`; everything when it is not known what the display holds.
pub(super) fn changes(old: Option<&Pages>, new: &Pages) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (page, bytes) in new.iter().enumerate() {
        let Some(before) = old.and_then(|old| old.get(page)) else {
            runs.push(Run { page, from: 0, to: screen::WIDTH });
            continue;
        };
        let differing = before.iter().zip(bytes).enumerate().filter(|(_, (a, b))| a != b).map(|(x, _)| x);
        for x in differing {
            match runs.last_mut() {
                Some(run) if run.page == page && x - run.to <= GAP_COLUMNS_MAX => run.to = x + 1,
                _ => runs.push(Run { page, from: x, to: x + 1 }),
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_bits_of_a_column() {
        let mut frame = Frame::new();
        frame.set(3, 8, true);
        frame.set(3, 15, true);
        frame.set(127, 63, true);
        let pages = pages(&frame);
        assert_eq!((pages[1][3], pages[7][127], pages[0][3]), (0x81, 0x80, 0));
    }

    #[test]
    fn only_what_differs_is_sent_and_near_runs_are_one() {
        let (old, mut new) = ([[0; screen::WIDTH]; PAGES], [[0; screen::WIDTH]; PAGES]);
        assert_eq!(changes(Some(&old), &new), []);
        new[2][10] = 1;
        new[2][20] = 1;
        new[2][100] = 1;
        new[3][100] = 1;
        let expected = [(2, 10, 21), (2, 100, 101), (3, 100, 101)];
        assert_eq!(changes(Some(&old), &new), expected.map(|(page, from, to)| Run { page, from, to }));
    }

    #[test]
    fn an_unknown_display_gets_everything() {
        let runs = changes(None, &[[0; screen::WIDTH]; PAGES]);
        assert_eq!(runs.iter().map(|run| run.to - run.from).sum::<usize>(), 1024);
    }
}
