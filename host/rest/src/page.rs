//! Paging, searching and sorting as all lists have it (REST §1).

use std::cmp::Ordering;

use serde_json::{Value as Json, json};
use wireglot_model::limits::PAGE_ITEMS_MAX;

use crate::error::ApiError;
use crate::request::Params;

/// Which page of which order.
pub(crate) struct Page {
    size: usize,
    number: usize,
    /// In lower case.
    search: Option<String>,
    sort: Option<String>,
    descending: bool,
    /// The order was asked for.
    is_ordered: bool,
}

impl Page {
    /// `pageSize` and `page` have to be there.
    pub(crate) fn from_params(params: &Params) -> Result<Self, ApiError> {
        // As large as clients know numbers to be.
        let size: i32 = params.required("pageSize")?;
        let number: i32 = params.required("page")?;
        if size < 1 {
            return Err(ApiError::bad_request("Incorrect page size. Page size must be greater than 0"));
        }
        let descending = match params.text("sortOrder").map(str::to_ascii_uppercase).as_deref() {
            None | Some("ASC") => false,
            Some("DESC") => true,
            Some(other) => {
                let only = "Only 'ASC' or 'DESC' types are allowed.";
                return Err(ApiError::bad_request(format!("Unsupported sort order '{other}'! {only}")));
            }
        };
        Ok(Self {
            size: usize::try_from(size).unwrap_or(PAGE_ITEMS_MAX).min(PAGE_ITEMS_MAX),
            number: usize::try_from(number).map_err(|_| {
                ApiError::bad_request("Incorrect page number. Page number must not be negative")
            })?,
            search: params.text("textSearch").map(str::to_lowercase),
            sort: params.text("sortProperty").map(str::to_owned),
            descending,
            is_ordered: params.text("sortOrder").is_some(),
        })
    }

    /// The other way round where nobody asks for an order.
    pub(crate) fn newest_first(self) -> Self {
        Self { descending: self.descending || (self.sort.is_none() && !self.is_ordered), ..self }
    }

    /// Whether one of the texts holds what is searched for.
    pub(crate) fn finds(&self, texts: &[&str]) -> bool {
        self.search.as_ref().is_none_or(|search| texts.iter().any(|text| holds(text, search)))
    }

    /// What to sort by.
    pub(crate) fn property(&self) -> &str {
        self.sort.as_deref().unwrap_or("createdTime")
    }

    pub(crate) fn unknown_property(property: &str) -> ApiError {
        ApiError::bad_request(format!("Invalid sort property: {property}"))
    }

    fn start(&self) -> usize {
        self.number.saturating_mul(self.size)
    }

    fn end(&self) -> usize {
        self.start().saturating_add(self.size)
    }

    fn ordered(&self, order: Ordering) -> Ordering {
        if self.descending { order.reverse() } else { order }
    }

    /// Sorts `items` by the property asked for, cuts the page out of them, and writes it.
    ///
    /// `compare` knows the order of each property that there is; without one the order is that of making.
    pub(crate) fn answer<T>(
        &self,
        mut items: Vec<T>,
        compare: impl Fn(&str, &T, &T) -> Option<Ordering>,
        write: impl Fn(&T) -> Json,
    ) -> Result<Json, ApiError> {
        let property = self.property();
        let known = items.first().is_none_or(|item| compare(property, item, item).is_some());
        if !known {
            return Err(Self::unknown_property(property));
        }
        items.sort_by(|one, other| self.ordered(compare(property, one, other).unwrap_or(Ordering::Equal)));
        let total = items.len();
        Ok(self.written(items.iter().skip(self.start()).take(self.size).map(write), total))
    }

    fn written(&self, data: impl Iterator<Item = Json>, total: usize) -> Json {
        json!({
            "data": data.collect::<Vec<_>>(),
            "totalPages": total.div_ceil(self.size),
            "totalElements": total,
            "hasNext": self.end() < total,
        })
    }
}

/// Whether `search`, which is in lower case, stands in `text` in any case.
fn holds(text: &str, search: &str) -> bool {
    if text.is_ascii() {
        // Without a copy: this is asked of every name there is. What is searched for is not empty.
        return text
            .as_bytes()
            .windows(search.len())
            .any(|part| part.eq_ignore_ascii_case(search.as_bytes()));
    }
    text.to_lowercase().contains(search)
}

/// Picks a page out of many: of what is added, it keeps no more than twice what can be on the page or before it.
pub(crate) struct Gathering<'p, K, T> {
    page: &'p Page,
    kept: Vec<(K, T)>,
    total: usize,
}

impl<'p, K: Ord, T> Gathering<'p, K, T> {
    pub(crate) fn new(page: &'p Page) -> Self {
        Self { page, kept: Vec::new(), total: 0 }
    }

    /// Keys differ, or the same page would not be the same twice.
    pub(crate) fn add(&mut self, key: K, item: T) {
        self.total += 1;
        self.kept.push((key, item));
        let (page, end) = (self.page, self.page.end());
        if self.kept.len() >= end.saturating_mul(2) {
            self.kept.select_nth_unstable_by(end, |(one, _), (other, _)| page.ordered(one.cmp(other)));
            self.kept.truncate(end);
        }
    }

    pub(crate) fn answer(mut self, write: impl Fn(&T) -> Json) -> Json {
        let page = self.page;
        self.kept.sort_unstable_by(|(one, _), (other, _)| page.ordered(one.cmp(other)));
        let data = self.kept.iter().skip(page.start()).take(page.size);
        page.written(data.map(|(_, item)| write(item)), self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_knows_no_case() {
        for (text, search, found) in [
            ("Thermo-1", "thermo", true),
            ("Thermo-1", "1", true),
            ("Thermo-1", "thermo-12", false),
            ("Übergabe", "überg", true),
            ("STRASSE 5", "straße", false),
            ("\u{212A}elvin", "kelvin", true),
            ("", "a", false),
        ] {
            assert_eq!(holds(text, &search.to_lowercase()), found, "{search} in {text}");
        }
    }

    #[test]
    fn every_page_is_that_of_the_sorted_whole() {
        let numbers: Vec<u32> =
            (0..1_000_u32).map(|number| number.wrapping_mul(2_654_435_761) % 1_009).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        for descending in [false, true] {
            for (size, number) in [(1, 0), (7, 0), (7, 20), (10, 99), (10, 100), (1_000, 0), (3, usize::MAX)]
            {
                let page =
                    Page { size, number, search: None, sort: None, descending, is_ordered: descending };
                let mut gathering = Gathering::new(&page);
                for number in &numbers {
                    gathering.add(*number, *number);
                    assert!(gathering.kept.len() < page.end().saturating_mul(2).max(1));
                }
                let answer = gathering.answer(|number| json!(number));
                let (start, end) = (page.start().min(1_000), page.end().min(1_000));
                let mut expected = sorted.clone();
                if descending {
                    expected.reverse();
                }
                assert_eq!(answer["data"], json!(expected[start..end]), "{size} {number} {descending}");
                assert_eq!(
                    (&answer["totalElements"], &answer["hasNext"]),
                    (&json!(1_000), &json!(page.end() < 1_000))
                );
            }
        }
    }
}
