//! The chart of the README: what a message costs, by number of rules, as SVG.

use std::fmt::Write as _;

use crate::report::Report;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 400.0;
/// Of one broker's part.
const PLOT: [f64; 2] = [290.0, 250.0];
const TOP: f64 = 78.0;
const LEFTS: [f64; 2] = [64.0, 478.0];
/// From 5,000 to 5,000,000 instructions, and from 1 to 10,000 rules.
const DECADES: [f64; 2] = [4.0, 3.0];
const LEAST: f64 = 5000.0;

/// A peer: its name, and its colour, which is readable on white and on black.
const PEERS: [(&str, &str); 5] =
    [("acl_file", "#d1495b"), ("dynsec", "#c77d0a"), ("ours", "#1f8a5b"), ("trivial", "#7a7f87"), ("none", "#7a7f87")];

/// Instructions per message, one part for each broker: none where that was not measured.
pub(crate) fn draw(report: &Report, row: &str) -> Option<String> {
    let lines: Vec<_> = report.lines_of(row).collect();
    let mut brokers: Vec<&str> = lines.iter().map(|(broker, ..)| *broker).collect();
    brokers.dedup();
    if brokers.len() != LEFTS.len() {
        return None;
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#7a7f87\">\n<title>What a message costs the broker</title>\n"
    );
    text(
        &mut svg,
        LEFTS[0],
        22.0,
        "font-size=\"15\" font-weight=\"bold\"",
        "What a message costs the broker, by number of rules",
    );
    let subtitle = "instructions per QoS 0 message from one publisher to one subscriber (1,000 topics, 100 users in rotation); both scales are logarithmic";
    text(&mut svg, LEFTS[0], 40.0, "font-size=\"11\"", subtitle);
    for (left, broker) in LEFTS.into_iter().zip(brokers) {
        frame(&mut svg, left, broker);
        let points = |peer: &str| -> Vec<(f64, f64)> {
            let of_peer = lines.iter().filter(|(of, name, _)| *of == broker && *name == peer);
            of_peer.filter_map(|(.., figures)| Some((find(figures, "rules")?, find(figures, "rotation")?))).collect()
        };
        let mut taken: Vec<f64> = Vec::new();
        for (peer, colour) in PEERS {
            let mut points = points(peer);
            // Whoever has no rules costs the same with any number.
            if let [(0.0, cost)] = points[..] {
                points = vec![(1.0, cost), (10f64.powf(DECADES[0]), cost)];
            }
            curve(&mut svg, left, (peer, colour), &points, &mut taken);
        }
    }
    let about = |name: &str| report.header.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value);
    let foot =
        format!("{} · {} · mqtt-acl {} · {}", about("date"), about("machine"), about("commit"), about("command"));
    text(&mut svg, LEFTS[0], HEIGHT - 12.0, "font-size=\"10\"", &foot);
    svg.push_str("</svg>\n");
    Some(svg)
}

fn find(figures: &[(&str, f64)], name: &str) -> Option<f64> {
    figures.iter().find(|(of, _)| *of == name).map(|(_, value)| *value)
}

/// The axes of one broker's part.
fn frame(svg: &mut String, left: f64, broker: &str) {
    let [width, height] = PLOT;
    let bottom = TOP + height;
    text(svg, left, TOP - 12.0, "font-weight=\"bold\"", &format!("Mosquitto {broker}"));
    for (cost, label) in [(1e4, "10,000"), (1e5, "100,000"), (1e6, "1,000,000")] {
        let y = height_of(cost);
        let _ = writeln!(svg, "<path d=\"M{left} {y:.1}h{width}\" stroke=\"#7a7f87\" stroke-opacity=\".3\"/>");
        text(svg, left - 6.0, y + 4.0, "text-anchor=\"end\" font-size=\"11\"", label);
    }
    let _ = writeln!(svg, "<path d=\"M{left} {TOP}v{height}h{width}\" fill=\"none\" stroke=\"#7a7f87\"/>");
    for (rules, label) in [(1.0, "1"), (10.0, "10"), (100.0, "100"), (1000.0, "1,000"), (10_000.0, "10,000")] {
        text(svg, x_of(left, rules), bottom + 17.0, "text-anchor=\"middle\" font-size=\"11\"", label);
    }
    text(svg, left + width / 2.0, bottom + 35.0, "text-anchor=\"middle\" font-size=\"11\"", "rules for the publisher");
}

/// A peer's line, and its name where that has room.
fn curve(svg: &mut String, left: f64, (peer, colour): (&str, &str), points: &[(f64, f64)], taken: &mut Vec<f64>) {
    let Some((_, last)) = points.last() else { return };
    let path: Vec<_> =
        points.iter().map(|(rules, cost)| format!("{:.1} {:.1}", x_of(left, *rules), height_of(*cost))).collect();
    let dashes = if peer == "none" { " stroke-dasharray=\"3 3\"" } else { "" };
    let path = path.join("L");
    let _ = writeln!(svg, "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>");
    let mut y = height_of(*last) + 4.0;
    while let Some(other) = taken.iter().find(|other| (*other - y).abs() < 13.0) {
        y = other + 13.0;
    }
    taken.push(y);
    let name = match peer {
        "ours" => "mqtt-acl",
        "none" => "no ACL",
        "trivial" => "empty plugin",
        "dynsec" => "dynamic-security",
        other => other,
    };
    let x = left + PLOT[0] + 6.0;
    text(svg, x, y, &format!("fill=\"{colour}\""), name);
}

fn x_of(left: f64, rules: f64) -> f64 {
    left + rules.log10() / DECADES[0] * PLOT[0]
}

fn height_of(cost: f64) -> f64 {
    TOP + PLOT[1] * (1.0 - (cost / LEAST).log10() / DECADES[1])
}

fn text(svg: &mut String, x: f64, y: f64, attributes: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>");
}
