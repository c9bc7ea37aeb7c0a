//! A strict reader of OpenMetrics text: what it accepts, every scraper does.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
pub struct Page(Vec<Family>);

/// What has one name and one type.
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: String,
    pub unit: Option<String>,
    pub samples: Vec<Sample>,
}

/// One value.
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Page {
    pub fn families(&self) -> &[Family] {
        &self.0
    }

    /// All names that a query may use.
    pub fn series(&self) -> BTreeSet<&str> {
        let samples = self.0.iter().flat_map(|family| &family.samples);
        samples.map(|sample| sample.name.as_str()).collect()
    }

    /// The value of exactly this series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut samples = self.0.iter().flat_map(|family| &family.samples);
        let sample = samples.find(|sample| sample.name == name && sample.labels == labels);
        sample.unwrap_or_else(|| panic!("there is no {name} {labels:?}")).value
    }

    /// Reads a whole page, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Page, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
        if !body.is_empty() && !body.ends_with('\n') {
            return Err("# EOF is not a line of its own".to_owned());
        }
        let mut families: Vec<Draft> = Vec::new();
        for line in body.lines() {
            let read = match line.strip_prefix("# ") {
                Some(about) => describe(&mut families, about),
                None => sample(line).and_then(|sample| put(&mut families, sample)),
            };
            read.map_err(|error| format!("{error}: {line:?}"))?;
        }
        let families: Vec<Family> = families.into_iter().map(Draft::finish).collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        for Sample { name, labels, .. } in families.iter().flat_map(|family| &family.samples) {
            if !seen.insert((name, labels)) {
                return Err(format!("{name} {labels:?} is there twice"));
            }
        }
        families.iter().try_for_each(Family::check)?;
        Ok(Page(families))
    }
}

/// A family of which more may come.
#[derive(Default)]
struct Draft {
    name: String,
    help: Option<String>,
    kind: Option<String>,
    unit: Option<String>,
    samples: Vec<Sample>,
}

impl Draft {
    fn finish(self) -> Result<Family, String> {
        let Draft { name, help, kind, unit, samples } = self;
        let help = help.filter(|help| !help.is_empty()).ok_or(format!("{name} has no help"))?;
        let kind = kind.ok_or(format!("{name} has no type"))?;
        Ok(Family { name, help, kind, unit, samples })
    }
}

/// A line that begins with `#`, without that.
fn describe(families: &mut Vec<Draft>, about: &str) -> Result<(), String> {
    let (what, rest) = about.split_once(' ').ok_or("a comment")?;
    let (name, text) = rest.split_once(' ').ok_or("a description without a text")?;
    if !is_name(name, true) {
        return Err("no name of a metric".to_owned());
    }
    if families.last().is_none_or(|last| last.name != name) {
        if families.iter().any(|family| family.name == name) {
            return Err("a family in two pieces".to_owned());
        }
        families.push(Draft { name: name.to_owned(), ..Draft::default() });
    }
    let family = families.last_mut().unwrap();
    if !family.samples.is_empty() {
        return Err("a description behind a value".to_owned());
    }
    let place = match what {
        "HELP" => &mut family.help,
        "TYPE" => &mut family.kind,
        "UNIT" => &mut family.unit,
        _ => return Err("a comment".to_owned()),
    };
    let text = if what == "HELP" { unescape(text)? } else { text.to_owned() };
    match place.replace(text) {
        None => Ok(()),
        Some(_) => Err("said twice".to_owned()),
    }
}

/// A line with a value.
fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err("no name of a metric".to_owned());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no value")?;
    // No moments and no examples: this server has none.
    let is_number = value == "+Inf" || value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let value = value.parse().ok().filter(|_| is_number).ok_or("no number")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Labels, behind their `{`, and what follows their `}`.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or("no label")?;
        if !is_name(name, false) {
            return Err("no name of a label".to_owned());
        }
        let mut escaped = false;
        let end = behind.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let (value, behind) = behind.split_at(end.ok_or("a label without an end")?);
        if labels.insert(name.to_owned(), unescape(value)?).is_some() {
            return Err("a label twice".to_owned());
        }
        match behind.as_bytes().get(1) {
            Some(b',') => rest = &behind[2..],
            Some(b'}') => return Ok((labels, &behind[2..])),
            _ => return Err("labels without an end".to_owned()),
        }
    }
}

fn put(families: &mut [Draft], sample: Sample) -> Result<(), String> {
    let family = families.last_mut().ok_or("a value of no family")?;
    let suffix = sample.name.strip_prefix(&*family.name).ok_or("a value of another family")?;
    let suffixes: &[&str] = match family.kind.as_deref() {
        Some("gauge") => &[""],
        Some("counter") => &["_total"],
        Some("info") => &["_info"],
        Some("histogram") => &["_bucket", "_count", "_sum"],
        _ => return Err("a family without a type that is known".to_owned()),
    };
    if !suffixes.contains(&suffix) {
        return Err(format!("a {} is not called so", family.kind.as_deref().unwrap_or_default()));
    }
    family.samples.push(sample);
    Ok(())
}

impl Family {
    /// Whether its values are such as its type and unit allow.
    fn check(&self) -> Result<(), String> {
        let Family { name, kind, unit, samples, .. } = self;
        if samples.is_empty() {
            return Err(format!("{name} has no value"));
        }
        match unit {
            Some(unit) if kind == "info" || !name.ends_with(&format!("_{unit}")) => {
                return Err(format!("{name} cannot have the unit {unit}"));
            }
            None if name.ends_with("_seconds") || name.ends_with("_bytes") => {
                return Err(format!("{name} has no unit"));
            }
            _ => {}
        }
        let is_right = |sample: &Sample| match kind.as_str() {
            "gauge" => true,
            "info" => sample.value == 1.0,
            _ => sample.value >= 0.0 && sample.value.is_finite(),
        };
        match samples.iter().find(|sample| !is_right(sample)) {
            Some(wrong) => Err(format!("{} cannot be {}", wrong.name, wrong.value)),
            None if kind == "histogram" => self.check_histogram(),
            None => Ok(()),
        }
    }

    /// This page's histograms have no labels but that of their buckets.
    fn check_histogram(&self) -> Result<(), String> {
        let name = &self.name;
        let (buckets, others): (Vec<&Sample>, Vec<&Sample>) =
            self.samples.iter().partition(|sample| sample.name.ends_with("_bucket"));
        let find = |suffix| others.iter().find(|sample| sample.name == format!("{name}{suffix}"));
        let (Some(count), Some(_)) = (find("_count"), find("_sum")) else {
            return Err(format!("{name} has no count or no sum"));
        };
        let bounds = buckets.iter().map(|bucket| match bucket.labels.get("le").map(String::as_str) {
            Some("+Inf") => Some(f64::INFINITY),
            Some(bound) => bound.parse().ok().filter(|bound: &f64| bound.is_finite()),
            None => None,
        });
        let bounds: Vec<f64> =
            bounds.collect::<Option<_>>().ok_or(format!("a bucket of {name} has no bound"))?;
        if !bounds.is_sorted_by(|a, b| a < b) || bounds.last() != Some(&f64::INFINITY) {
            return Err(format!("the bounds of {name} do not grow to +Inf"));
        }
        let counts: Vec<f64> = buckets.iter().map(|bucket| bucket.value).collect();
        if !counts.is_sorted() || counts.last() != Some(&count.value) {
            return Err(format!("the buckets of {name} do not add up"));
        }
        Ok(())
    }
}

fn is_name(name: &str, with_colons: bool) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (with_colons && c == ':');
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

fn unescape(text: &str) -> Result<String, String> {
    let (mut plain, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                _ => return Err("an escape that is none".to_owned()),
            },
            c => c,
        });
    }
    Ok(plain)
}
