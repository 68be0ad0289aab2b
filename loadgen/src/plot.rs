//! Line plots as SVG, which take their colours from the page they stand in: `s0` to `s7` are its classes of series.

use std::fmt;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;

/// Room for the axes' figures and names.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;

/// Figures on an axis at most.
const TICKS_MAX: usize = 8;

/// Points of a line that tell their figures under the mouse.
const TOLD_POINTS_MAX: usize = 100;

/// Classes of series that a page has colours for.
pub const SERIES_MAX: usize = 8;

#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// What it shows, for those who cannot see it.
    pub title: &'a str,
    pub x: Axis<'a>,
    pub y: Axis<'a>,
    pub series: Vec<Series<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Axis<'a> {
    pub name: &'a str,
    pub scale: Scale,
    /// A figure of it, with its unit.
    pub words: fn(f64) -> String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// From zero.
    Linear,
    /// What is not above zero has no place on it.
    Log,
}

#[derive(Clone, Debug)]
pub struct Series<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

/// Text as it may stand in a page or a plot.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

/// An axis laid out: what it spans in figures and on the plot.
struct Laid<'a> {
    axis: &'a Axis<'a>,
    figures: (f64, f64),
    places: (f64, f64),
}

impl fmt::Display for Plot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = |of: fn(&(f64, f64)) -> f64| self.series.iter().flat_map(|line| &line.points).map(of);
        let x = Laid::of(&self.x, figures(|point| point.0), (LEFT, WIDTH - RIGHT));
        let y = Laid::of(&self.y, figures(|point| point.1), (HEIGHT - BOTTOM, TOP));
        writeln!(f, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, Escaped(self.title))?;
        write_axes(f, &x, &y)?;
        for (number, line) in self.series.iter().enumerate() {
            write_line(f, number, line, &x, &y)?;
        }
        writeln!(f, "</svg>")
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            letter => write!(f, "{letter}"),
        })
    }
}

impl<'a> Laid<'a> {
    fn of(axis: &'a Axis<'a>, figures: impl Iterator<Item = f64>, places: (f64, f64)) -> Self {
        let is_shown = |figure: &f64| figure.is_finite() && (axis.scale == Scale::Linear || *figure > 0.0);
        let (least, most) =
            figures.filter(is_shown).fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
        let figures = match axis.scale {
            Scale::Linear if most <= 0.0 => (0.0, 1.0),
            Scale::Linear => (0.0, round_up(most, axis.scale)),
            Scale::Log if least > most => (1.0, 10.0),
            Scale::Log => (round_down(least), round_up(most, axis.scale).max(round_down(least) * 10.0)),
        };
        Self { axis, figures, places }
    }

    /// Where a figure stands, if it has a place.
    fn place(&self, figure: f64) -> Option<f64> {
        let (figures, places) = (self.figures, self.places);
        let share = match self.axis.scale {
            Scale::Linear => (figure - figures.0) / (figures.1 - figures.0),
            Scale::Log if figure > 0.0 => (figure / figures.0).ln() / (figures.1 / figures.0).ln(),
            Scale::Log => f64::NAN,
        };
        share.is_finite().then_some(places.0 + share * (places.1 - places.0))
    }

    /// Round figures on it.
    fn ticks(&self) -> Vec<f64> {
        let (least, most) = self.figures;
        match self.axis.scale {
            Scale::Linear => {
                let step = step(most);
                (0..).map(|number| f64::from(number) * step).take_while(|tick| *tick <= most * 1.000_001).collect()
            }
            Scale::Log => {
                let decades = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
                let of = |parts: &[f64], every: usize| -> Vec<f64> {
                    decades
                        .clone()
                        .step_by(every)
                        .flat_map(|decade| parts.iter().map(move |part| part * 10_f64.powi(decade)))
                        .filter(|tick| (least * 0.999..=most * 1.001).contains(tick))
                        .collect()
                };
                [of(&[1.0, 2.0, 5.0], 1), of(&[1.0], 1), of(&[1.0], 2)]
                    .into_iter()
                    .find(|ticks| ticks.len() <= TICKS_MAX)
                    .unwrap_or_else(|| of(&[1.0], 3))
            }
        }
    }
}

/// The distance of figures on a linear axis: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let least = most / (TICKS_MAX - 1) as f64;
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|part| part * decade).find(|step| *step >= least).unwrap_or(10.0 * decade)
}

fn round_up(figure: f64, scale: Scale) -> f64 {
    if scale == Scale::Linear {
        return (figure / step(figure)).ceil() * step(figure);
    }
    let decade = 10_f64.powf(figure.log10().floor());
    let is_enough = |end: &f64| *end >= figure * 0.999;
    [1.0, 2.0, 5.0].into_iter().map(|part| part * decade).find(is_enough).unwrap_or(10.0 * decade)
}

/// To 1, 2 or 5 times a power of ten.
fn round_down(figure: f64) -> f64 {
    let decade = 10_f64.powf(figure.log10().floor());
    [5.0, 2.0].into_iter().map(|part| part * decade).find(|start| *start <= figure).unwrap_or(decade)
}

fn write_axes(f: &mut fmt::Formatter<'_>, x: &Laid<'_>, y: &Laid<'_>) -> fmt::Result {
    let (left, right, top, bottom) = (x.places.0, x.places.1, y.places.1, y.places.0);
    for tick in y.ticks() {
        let Some(at) = y.place(tick) else { continue };
        writeln!(f, r#"<line class="grid" x1="{left}" x2="{right}" y1="{at:.1}" y2="{at:.1}"/>"#)?;
        let (end, words) = (left - 8.0, (y.axis.words)(tick));
        writeln!(
            f,
            r#"<text class="tick" text-anchor="end" x="{end}" y="{:.1}">{}</text>"#,
            at + 4.0,
            Escaped(&words)
        )?;
    }
    for tick in x.ticks() {
        let Some(at) = x.place(tick) else { continue };
        writeln!(f, r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{top}" y2="{bottom}"/>"#)?;
        let (under, words) = (bottom + 18.0, (x.axis.words)(tick));
        writeln!(f, r#"<text class="tick" text-anchor="middle" x="{at:.1}" y="{under}">{}</text>"#, Escaped(&words))?;
    }
    writeln!(f, r#"<path class="axis" d="M{left} {top}V{bottom}H{right}"/>"#)?;
    let (middle, under) = ((left + right) / 2.0, HEIGHT - 10.0);
    writeln!(f, r#"<text class="name" text-anchor="middle" x="{middle}" y="{under}">{}</text>"#, Escaped(x.axis.name))?;
    let middle = (top + bottom) / 2.0;
    writeln!(
        f,
        r#"<text class="name" text-anchor="middle" transform="translate(16 {middle}) rotate(-90)">{}</text>"#,
        Escaped(y.axis.name)
    )
}

/// A line, broken where it has no place, and its figures under the mouse.
fn write_line(f: &mut fmt::Formatter<'_>, number: usize, line: &Series<'_>, x: &Laid<'_>, y: &Laid<'_>) -> fmt::Result {
    let class = number % SERIES_MAX;
    write!(f, r#"<path class="line s{class}" d=""#)?;
    let mut is_drawing = false;
    for &(at_x, at_y) in &line.points {
        let places = x.place(at_x).zip(y.place(at_y));
        if let Some((x, y)) = places {
            write!(f, "{}{x:.1} {y:.1}", if is_drawing { 'L' } else { 'M' })?;
        }
        is_drawing = places.is_some();
    }
    writeln!(f, r#""/>"#)?;
    let dot = if line.points.len() == 1 { "dot" } else { "told" };
    for &(at_x, at_y) in line.points.iter().step_by(line.points.len().div_ceil(TOLD_POINTS_MAX).max(1)) {
        let Some((cx, cy)) = x.place(at_x).zip(y.place(at_y)) else { continue };
        let words = format!("{}: {} at {}", line.name, (y.axis.words)(at_y), (x.axis.words)(at_x));
        let words = Escaped(&words);
        writeln!(
            f,
            r#"<circle class="{dot} s{class}" cx="{cx:.1}" cy="{cy:.1}" r="5"><title>{words}</title></circle>"#
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIS: Axis<'static> = Axis { name: "figures", scale: Scale::Linear, words: |figure| figure.to_string() };

    fn ticks(scale: Scale, figures: &[f64]) -> Vec<f64> {
        let axis = Axis { scale, ..AXIS };
        Laid::of(&axis, figures.iter().copied(), (0.0, 100.0)).ticks()
    }

    #[test]
    fn a_linear_axis_goes_from_zero_to_the_next_round_figure() {
        assert_eq!(ticks(Scale::Linear, &[3.0, 10.0]), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(Scale::Linear, &[812_000.0]), [0.0, 200_000.0, 400_000.0, 600_000.0, 800_000.0, 1_000_000.0]);
    }

    #[test]
    fn a_log_axis_has_as_many_figures_as_there_is_room_for() {
        assert_eq!(ticks(Scale::Log, &[30.0, 150.0]), [20.0, 50.0, 100.0, 200.0]);
        assert_eq!(ticks(Scale::Log, &[1.0, 90_000.0]), [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        let wide = ticks(Scale::Log, &[1e-3, 1e9]);
        assert!(wide.len() <= TICKS_MAX && wide.len() > 3, "{wide:?}");
    }

    #[test]
    fn figures_that_are_nothing_the_same_or_no_figures_have_an_axis_too() {
        for scale in [Scale::Linear, Scale::Log] {
            for figures in [&[][..], &[0.0], &[5.0], &[5.0, 5.0], &[f64::NAN, f64::INFINITY, -1.0]] {
                let axis = Axis { scale, ..AXIS };
                let laid = Laid::of(&axis, figures.iter().copied(), (0.0, 100.0));
                assert!(laid.figures.1 > laid.figures.0, "{figures:?}: {:?}", laid.figures);
                assert!((1..=12).contains(&laid.ticks().len()), "{figures:?}: {:?}", laid.ticks());
            }
        }
    }

    #[test]
    fn a_figure_stands_where_its_scale_puts_it() {
        let axis = Axis { scale: Scale::Log, ..AXIS };
        let laid = Laid::of(&axis, [1.0, 100.0].into_iter(), (0.0, 100.0));
        let near = |figure, place: f64| (laid.place(figure).expect("a place") - place).abs() < 1e-9;
        assert!(near(1.0, 0.0) && near(10.0, 50.0) && near(100.0, 100.0));
        assert_eq!((laid.place(0.0), laid.place(f64::NAN)), (None, None));
    }

    #[test]
    fn a_line_breaks_where_it_has_no_place() {
        let points = vec![(0.0, 1.0), (1.0, 10.0), (2.0, 0.0), (3.0, 10.0)];
        let plot = Plot {
            title: "a < b",
            x: AXIS,
            y: Axis { scale: Scale::Log, ..AXIS },
            series: vec![Series { name: "<x>", points }],
        };
        let svg = plot.to_string();
        let path = svg.lines().find(|line| line.contains("line s0")).expect("a line");
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert!(svg.contains("a &lt; b") && svg.contains("&lt;x&gt;: 10 at 1") && !svg.contains("NaN"), "{svg}");
    }
}
