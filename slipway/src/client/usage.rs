//! `slipway usage`

use anyhow::Context as _;
use prost_types::Timestamp;
use slipway_proto::inference::{GetUsageRequest, GetUsageResponse, UsageDimension, UsageSum};
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime};

use super::Api;
use crate::args::{Dimension, Usage};
use crate::error::Failure;
use crate::output::{Out, Table, bar, csv, dollars};

const BAR: usize = 24;

/// Adds up what calls cost.
pub(crate) async fn usage(api: &Api, out: &Out, asked: Usage) -> anyhow::Result<()> {
    let Usage { by, since, organisation, csv } = asked;
    let start = since_day(&since, OffsetDateTime::now_utc())?;
    let request = GetUsageRequest {
        group_by: by.iter().map(|d| dimension(*d).into()).collect(),
        start_time: Some(Timestamp { seconds: start.midnight().assume_utc().unix_timestamp(), nanos: 0 }),
        end_time: None,
        whole_organisation: organisation,
    };
    let usage = api.usage.clone().get_usage(request).await?.into_inner();
    if out.json("inference.v1.GetUsageResponse", &usage)? {
        return Ok(());
    }
    if csv { out.line(values(&by, &usage)) } else { show(out, &by, &usage) }
}

fn show(out: &Out, by: &[Dimension], usage: &GetUsageResponse) -> anyhow::Result<()> {
    if usage.sums.is_empty() {
        return out.line("no calls");
    }
    let most = usage.sums.iter().map(|s| s.cost_micros).max().unwrap_or(0);
    let mut table = Table::plain(&["", "calls", "input", "output", "$", ""], out.paint);
    for sum in &usage.sums {
        let names: Vec<String> = by.iter().map(|d| name(*d, sum)).collect();
        table.row(row(names.join("  "), sum, bar(sum.cost_micros, most, BAR)));
    }
    let total = usage.total.clone().unwrap_or_default();
    table.row(row("total".to_owned(), &total, String::new()));
    out.line(table.text())?;
    if total.unpriced_calls > 0 {
        out.note(format!("{} of the calls have no price and count as 0", total.unpriced_calls));
    }
    if usage.cut {
        out.note("there is more: take a shorter time");
    }
    Ok(())
}

fn row(name: String, sum: &UsageSum, bar: String) -> [String; 6] {
    let (calls, input, output) = (sum.calls.to_string(), sum.input_tokens.to_string(), sum.output_tokens.to_string());
    [name, calls, input, output, dollars(sum.cost_micros), bar]
}

/// As a spreadsheet takes them: whole micro-dollars, so that sums stay exact.
fn values(by: &[Dimension], usage: &GetUsageResponse) -> String {
    let mut header: Vec<String> = by.iter().map(|d| format!("{d:?}").to_lowercase()).collect();
    let numbers = ["calls", "unfinished_calls", "unpriced_calls", "cache_hits", "input_tokens", "output_tokens", "cost_micros"];
    header.extend(numbers.map(str::to_owned));
    let line = |sum: &UsageSum| {
        let mut fields: Vec<String> = by.iter().map(|d| csv(&name(*d, sum))).collect();
        let counts = [sum.calls, sum.unfinished_calls, sum.unpriced_calls, sum.cache_hits, sum.input_tokens, sum.output_tokens];
        fields.extend(counts.map(|n| n.to_string()));
        fields.push(sum.cost_micros.to_string());
        fields.join(",")
    };
    std::iter::once(header.join(",")).chain(usage.sums.iter().map(line)).collect::<Vec<_>>().join("\n")
}

fn dimension(dimension: Dimension) -> UsageDimension {
    match dimension {
        Dimension::Day => UsageDimension::Day,
        Dimension::Model => UsageDimension::Model,
        Dimension::Provider => UsageDimension::Provider,
        Dimension::Project => UsageDimension::Project,
        Dimension::User => UsageDimension::User,
        Dimension::Token => UsageDimension::Token,
        Dimension::Conversation => UsageDimension::Conversation,
        Dimension::Plan => UsageDimension::Plan,
    }
}

fn name(dimension: Dimension, sum: &UsageSum) -> String {
    match dimension {
        Dimension::Day => &sum.day,
        Dimension::Model => &sum.model,
        Dimension::Provider => &sum.provider,
        Dimension::Project => &sum.project_id,
        Dimension::User => &sum.user_id,
        Dimension::Token => &sum.token,
        Dimension::Conversation => &sum.conversation_id,
        Dimension::Plan => &sum.plan_id,
    }
    .clone()
}

/// `2026-11-25`, or `7d`: today and the six days before.
fn since_day(text: &str, now: OffsetDateTime) -> anyhow::Result<Date> {
    let wrong = || Failure::usage(format!("--since {text} is neither a day such as 2026-11-25 nor a number of days such as 7d"));
    if let Some(days) = text.strip_suffix('d') {
        let days: u16 = days.parse().ok().filter(|days| *days > 0).ok_or_else(wrong)?;
        return now.date().checked_sub(Duration::days(i64::from(days) - 1)).context("that is too long ago");
    }
    Ok(Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|_| wrong())?)
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn days_are_counted_from_today() {
        let now = datetime!(2026-03-01 12:00 UTC);
        assert_eq!(since_day("1d", now).unwrap(), date!(2026 - 03 - 01));
        assert_eq!(since_day("2d", now).unwrap(), date!(2026 - 02 - 28));
        assert_eq!(since_day("2025-12-31", now).unwrap(), date!(2025 - 12 - 31));
        for bad in ["", "0d", "d", "tomorrow", "2026-13-01"] {
            assert!(since_day(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_exact() {
        let sum = UsageSum { model: "a,b".into(), calls: 2, cost_micros: 1_234_567, ..Default::default() };
        let usage = GetUsageResponse { sums: vec![sum], ..Default::default() };
        let text = values(&[Dimension::Model], &usage);
        let wanted = "model,calls,unfinished_calls,unpriced_calls,cache_hits,input_tokens,output_tokens,cost_micros\n\"a,b\",2,0,0,0,0,0,1234567";
        assert_eq!(text, wanted);
    }
}
