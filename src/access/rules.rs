//! Who may publish and receive what.

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rules {}
