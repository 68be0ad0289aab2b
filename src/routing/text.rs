//! Text beside the fields that are read with it: a short one costs neither an allocation nor a cache miss of its own.

/// A text of any length; up to `N` bytes it lies inside.
#[derive(Debug)]
pub(super) enum Text<const N: usize> {
    Inside { len: u8, bytes: [u8; N] },
    Outside(Box<[u8]>),
}

impl<const N: usize> Text<N> {
    pub(super) fn new(text: &str) -> Self {
        const { assert!(N <= u8::MAX as usize) };
        let text = text.as_bytes();
        let mut bytes = [0; N];
        match bytes.get_mut(..text.len()) {
            Some(part) => {
                part.copy_from_slice(text);
                Self::Inside { len: text.len() as u8, bytes }
            }
            None => Self::Outside(text.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inside { len, bytes } => &bytes[..usize::from(*len)],
            Self::Outside(bytes) => bytes,
        }
    }

    /// Checks the encoding again, which is why matching compares bytes.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a Text is made of a str")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_reads_back_on_either_side_of_its_room() {
        for len in [0, 1, 21, 22, 23, 300] {
            let text = "x".repeat(len);
            assert_eq!(Text::<22>::new(&text).as_str(), text);
            assert_eq!(matches!(Text::<22>::new(&text), Text::Inside { .. }), len <= 22);
        }
        assert_eq!(size_of::<Text<54>>(), 56);
    }
}
