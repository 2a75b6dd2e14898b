//! A frame of the screen as a PNG picture.

use platform::screen::{Frame, HEIGHT, WIDTH};

/// The largest scale: 2,048 x 1,024 pixels, 256 KiB of one-bit rows while it is encoded.
pub const SCALE_MAX: u8 = 16;

/// Encoding failed, or the scale is out of range.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The scale is 0 or above [`SCALE_MAX`].
    #[error("the scale must be from 1 to {SCALE_MAX}, not {0}")]
    Scale(u8),
    /// The encoder refused.
    #[error("the picture could not be encoded")]
    Encode(#[from] png::EncodingError),
}

/// Encodes `frame` with every pixel as a square of `scale` x `scale`, black and white, one bit per pixel.
pub fn png(frame: &Frame, scale: u8) -> Result<Vec<u8>, PictureError> {
    if scale == 0 || scale > SCALE_MAX {
        return Err(PictureError::Scale(scale));
    }
    let side = usize::from(scale);
    let row_bytes = WIDTH * side / 8;
    let mut pixels = vec![0_u8; row_bytes * HEIGHT * side];
    for (y, row) in pixels.chunks_exact_mut(row_bytes).enumerate() {
        for (index, byte) in row.iter_mut().enumerate() {
            for bit in 0..8 {
                if frame.get((index * 8 + bit) / side, y / side) {
                    *byte |= 0x80 >> bit;
                }
            }
        }
    }
    let mut picture = Vec::new();
    let width = u32::try_from(WIDTH * side).map_err(|_| PictureError::Scale(scale))?;
    let height = u32::try_from(HEIGHT * side).map_err(|_| PictureError::Scale(scale))?;
    let mut encoder = png::Encoder::new(&mut picture, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_decodes_to_the_same_pixels() {
        let mut frame = Frame::new();
        frame.set(0, 0, true);
        frame.set(127, 63, true);
        frame.set(5, 9, true);
        let bytes = png(&frame, 3).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.line_size), (384, 192, 48));
        for y in 0..192 {
            for x in 0..384 {
                let lit = pixels[y * 48 + x / 8] & (0x80 >> (x % 8)) != 0;
                assert_eq!(lit, frame.get(x / 3, y / 3), "{x},{y}");
            }
        }
    }

    #[test]
    fn refuses_scales_that_would_eat_the_memory() {
        assert!(matches!(png(&Frame::new(), 0), Err(PictureError::Scale(0))));
        assert!(matches!(png(&Frame::new(), 17), Err(PictureError::Scale(17))));
    }
}
