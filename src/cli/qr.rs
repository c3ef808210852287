//! A QR code as text: two rows of its squares a line.

use qrcode::{Color, EcLevel, QrCode};

/// Squares that must stay light around it, so that a camera finds it.
const QUIET: usize = 2;

/// The lines of a text's code; `None` when the text is too long for one. What is light is drawn, so
/// that it is right where the background is dark.
pub(crate) fn half_blocks(text: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let is_light = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < width);
        let square = inside(x).zip(inside(y)).and_then(|(x, y)| colors.get(y * width + x));
        square != Some(&Color::Dark)
    };
    let whole = width + 2 * QUIET;
    let line = |y: usize| {
        let half = |x: usize| match (is_light(x, y), is_light(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        (0..whole).map(half).collect()
    };
    Some((0..whole).step_by(2).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_has_a_light_border() {
        let lines =
            half_blocks("https://share.example.org/#7-aardvark-abandoned-abbreviate").unwrap();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert_eq!(lines.len(), width.div_ceil(2));
        assert_eq!(lines[0], "█".repeat(width));
        assert!(lines.iter().all(|line| line.starts_with("██") && line.ends_with("██")));
        assert!(width < 60, "{width}");
    }

    #[test]
    fn what_is_too_long_has_none() {
        assert_eq!(half_blocks(&"x".repeat(3000)), None);
    }
}
