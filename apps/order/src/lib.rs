//! The order: what the workload's applications accept, refuse and where they send it.
//!
//! Both Rust applications, and the lab that checks them, use this crate; so it does no I/O and knows no HTTP library.
//! An order is passed on as the bytes that came: parsing looks only at what decides, and everything else, unknown
//! fields too, stays untouched.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The largest body that an application reads, bytes; beyond it the answer is 413. Four times what a Service Bus
/// message of the Standard tier may hold.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The largest order id. Dapr passes numbers through a float64, which keeps whole numbers up to here.
pub const ORDER_ID_MAX: u64 = 1 << 53;

/// How an order is to be delivered; it decides the way the order takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Delivery {
    /// By way of `q-order-express` into `express-outbox`.
    Express,
    /// By way of `q-order-standard` into `standard-outbox`.
    Standard,
}

impl Delivery {
    /// Dapr's binding that takes a distributed order to its queue.
    pub const fn queue_binding(self) -> &'static str {
        match self {
            Self::Express => "q-order-express-out",
            Self::Standard => "q-order-standard-out",
        }
    }

    /// Dapr's binding that stores a received order, which is also the name of its container.
    pub const fn outbox_binding(self) -> &'static str {
        match self {
            Self::Express => "express-outbox",
            Self::Standard => "standard-outbox",
        }
    }
}

impl<'de> Deserialize<'de> for Delivery {
    /// A derived one would also take `{"Express":null}`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Delivery;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"Express\" or \"Standard\"")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Delivery, E> {
                match word {
                    "Express" => Ok(Delivery::Express),
                    "Standard" => Ok(Delivery::Standard),
                    _ => Err(E::unknown_variant(word, &["Express", "Standard"])),
                }
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Why a body is no order. The sender has to change it: answered with 400.
#[derive(Debug)]
pub struct Refusal(serde_json::Error);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the body is not an order: {}", self.0)
    }
}

impl std::error::Error for Refusal {}

/// An order whose deciding fields were read, and its bytes.
#[derive(Debug)]
pub struct Order<'a> {
    /// The order's id, which names its blob.
    pub id: u64,
    /// Where it goes.
    pub delivery: Delivery,
    body: &'a RawValue,
}

/// The fields that are looked at. Of the optional ones only the type is checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    order_id: OrderId,
    delivery: Delivery,
    #[serde(default, rename = "orderGuid")]
    _order_guid: Option<Text>,
    #[serde(default, rename = "description")]
    _description: Option<Text>,
    #[serde(default, rename = "firstName")]
    _first_name: Option<Text>,
    #[serde(default, rename = "lastName")]
    _last_name: Option<Text>,
    #[serde(default, rename = "items")]
    _items: Option<Vec<Object<Item>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(default, rename = "orderItemId")]
    _order_item_id: Option<IgnoredAny>,
    #[serde(default, rename = "sku")]
    _sku: Option<Text>,
    #[serde(default, rename = "quantity")]
    _quantity: Option<u64>,
}

/// An object and nothing else: a derived shape would also take an array, field by field.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

/// A string of which only the type matters.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// An id that Dapr carries unchanged.
struct OrderId(u64);

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            id if id <= ORDER_ID_MAX => Ok(Self(id)),
            id => Err(serde::de::Error::custom(format_args!("orderId {id} is larger than 2^53"))),
        }
    }
}

impl<'a> Order<'a> {
    /// Reads an order from a request's body.
    ///
    /// # Errors
    /// [`Refusal`] when the body is not one JSON object, `orderId` or `delivery` is missing or of another kind, or an
    /// optional field that is there has the wrong type.
    pub fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let raw: &RawValue = serde_json::from_slice(body).map_err(Refusal)?;
        let Object::<Shape>(shape) = serde_json::from_str(raw.get()).map_err(Refusal)?;
        Ok(Self { id: shape.order_id.0, delivery: shape.delivery, body: raw })
    }

    /// Dapr's output binding request that sends the order on to its queue.
    pub fn to_queue(&self) -> Vec<u8> {
        binding_request(self.body, format_args!(""))
    }

    /// Dapr's output binding request that stores the order under its id.
    pub fn to_outbox(&self) -> Vec<u8> {
        binding_request(self.body, format_args!(r#""metadata":{{"blobName":"{}"}},"#, self.id))
    }
}

/// Pasted, not serialised: the order is JSON already and must not change.
fn binding_request(data: &RawValue, metadata: fmt::Arguments<'_>) -> Vec<u8> {
    format!(r#"{{"operation":"create",{metadata}"data":{}}}"#, data.get()).into_bytes()
}

/// What an application does with an order, by the route that Dapr called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/q-order-ingress`: send it on to the queue of its delivery.
    Distribute,
    /// `/q-order-express-in`, `/q-order-standard-in`: store it in that outbox.
    Store(Delivery),
}

impl Route {
    /// The route behind a path; none for a path that takes no orders.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/q-order-ingress" => Some(Self::Distribute),
            "/q-order-express-in" => Some(Self::Store(Delivery::Express)),
            "/q-order-standard-in" => Some(Self::Store(Delivery::Standard)),
            _ => None,
        }
    }

    /// Reads the order in `body` and tells which binding to call with what.
    ///
    /// # Errors
    /// See [`Order::parse`].
    pub fn forward(self, body: &[u8]) -> Result<Forward, Refusal> {
        let order = Order::parse(body)?;
        Ok(match self {
            Self::Distribute => {
                Forward { binding: order.delivery.queue_binding(), request: order.to_queue() }
            }
            Self::Store(outbox) => Forward { binding: outbox.outbox_binding(), request: order.to_outbox() },
        })
    }
}

/// A call of Dapr's output binding API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The binding's name.
    pub binding: &'static str,
    /// The JSON body.
    pub request: Vec<u8>,
}

impl Forward {
    /// The path of the call on Dapr's API.
    pub fn path(&self) -> String {
        format!("/v1.0/bindings/{}", self.binding)
    }
}
