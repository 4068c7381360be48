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
        self.search
            .as_ref()
            .is_none_or(|search| texts.iter().any(|text| text.to_lowercase().contains(search)))
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
        let property = self.sort.as_deref().unwrap_or("createdTime");
        let known = items.first().is_none_or(|item| compare(property, item, item).is_some());
        if !known {
            return Err(ApiError::bad_request(format!("Invalid sort property: {property}")));
        }
        items.sort_by(|one, other| {
            let order = compare(property, one, other).unwrap_or(Ordering::Equal);
            if self.descending { order.reverse() } else { order }
        });
        let total = items.len();
        let start = self.number.saturating_mul(self.size);
        let data: Vec<Json> = items.iter().skip(start).take(self.size).map(write).collect();
        Ok(json!({
            "data": data,
            "totalPages": total.div_ceil(self.size),
            "totalElements": total,
            "hasNext": start.saturating_add(self.size) < total,
        }))
    }
}
