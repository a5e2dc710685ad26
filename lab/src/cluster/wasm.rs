//! What a Wasm file says about the SDK that it was written with, and whether a certain Spin can run it. It reads the file's
//! sections and runs nothing.

use super::versions::{NodeVersion, Sdks, Version};

/// What was found in a Wasm file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guest {
    /// The version of the Rust SDK that its export `spin-sdk-version-…` names.
    pub sdk: Option<String>,
    /// An export of `wasi:http/handler@0.3…`: a handler of WASI 0.3.
    pub handler_p3: Option<String>,
}

/// A file that is no Wasm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no Wasm file, or ends too early")]
pub struct NotWasm;

/// A component that the nodes cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{component} was written with {found}, which needs Spin {needs} or newer; shim {shim} has Spin {spin}"
)]
pub struct CannotRun {
    /// The component.
    pub component: String,
    /// What it was written with.
    pub found: String,
    /// The oldest Spin that would run it.
    pub needs: String,
    /// The shim of the nodes.
    pub shim: String,
    /// The Spin of that shim.
    pub spin: String,
}

impl CannotRun {
    /// What to do.
    pub fn hint(&self) -> String {
        "build it with spin-sdk 5 (or @spinframework/build-tools 1), or take nodes with a newer shim; lab versions".to_owned()
    }
}

/// The first Spin that runs handlers of WASI 0.3.
const SPIN_OF_P3: &str = "4.0.0";

/// What is assumed of a shim whose Spin nobody has written down: all shims that this lab can use have a Spin 3.
const SPIN_AT_LEAST: &str = "3.6.0";

impl Guest {
    /// Reads a Wasm file, a module or a component.
    ///
    /// # Errors
    /// Fails where it is neither, or cut off.
    pub fn read(wasm: &[u8]) -> Result<Self, NotWasm> {
        let mut guest = Self::default();
        guest.sections(wasm, 0)?;
        Ok(guest)
    }

    /// Whether a node can run it.
    ///
    /// # Errors
    /// Names what it was written with, what that needs and what the node has.
    pub fn check(&self, component: &str, sdks: &Sdks, node: &NodeVersion) -> Result<(), CannotRun> {
        let has = node.spin.as_deref().unwrap_or(SPIN_AT_LEAST);
        let told = match &node.spin {
            Some(spin) => spin.clone(),
            None => format!("{SPIN_AT_LEAST}, as far as is known"),
        };
        let too_old = |needs: &str| match (has.parse::<Version>(), needs.parse::<Version>()) {
            (Ok(has), Ok(needs)) => has < needs,
            _ => true,
        };
        let refuse = |found: String, needs: &str| CannotRun {
            component: component.to_owned(),
            found,
            needs: needs.to_owned(),
            shim: node.shim.clone(),
            spin: told.clone(),
        };
        if let Some(export) = &self.handler_p3
            && too_old(SPIN_OF_P3)
        {
            return Err(refuse(format!("an SDK that exports {export}"), SPIN_OF_P3));
        }
        if let Some(sdk) = &self.sdk {
            let major = sdk.split('.').next().unwrap_or_default();
            // A major version that is in no list is newer than the list.
            let needs = sdks.needs_spin.get(major).map_or(SPIN_OF_P3, String::as_str);
            if too_old(needs) {
                return Err(refuse(format!("spin-sdk {sdk}"), needs));
            }
        }
        Ok(())
    }

    /// Walks the sections of a module, or of a component and those within it.
    fn sections(&mut self, wasm: &[u8], depth: u32) -> Result<(), NotWasm> {
        /// Components in components: ours have two levels.
        const DEPTH: u32 = 16;
        let (header, mut rest) = wasm.split_at_checked(8).ok_or(NotWasm)?;
        let component = match header {
            [0, b'a', b's', b'm', 1, 0, 0, 0] => false,
            [0, b'a', b's', b'm', _, 0, 1, 0] => true,
            _ => return Err(NotWasm),
        };
        if depth > DEPTH {
            return Err(NotWasm);
        }
        while let [id, after @ ..] = rest {
            let (length, after) = number(after)?;
            let (body, after) = after.split_at_checked(length).ok_or(NotWasm)?;
            match (component, id) {
                (false, 7) => self.exports(body)?,
                // A module or a component within.
                (true, 1 | 4) => self.sections(body, depth + 1)?,
                (true, 11) => self.component_exports(body),
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    /// The export section of a module: for each its name, its kind and its index.
    fn exports(&mut self, body: &[u8]) -> Result<(), NotWasm> {
        let (count, mut rest) = number(body)?;
        for _ in 0..count {
            let (length, after) = number(rest)?;
            let (name, after) = after.split_at_checked(length).ok_or(NotWasm)?;
            let (_kind, after) = after.split_first().ok_or(NotWasm)?;
            let (_index, after) = number(after)?;
            if let Some(version) =
                std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("spin-sdk-version-"))
            {
                self.sdk = Some(version.replace('-', "."));
            }
            rest = after;
        }
        Ok(())
    }

    /// The export section of a component. Its rows are of many shapes; the name that matters can stand nowhere else in it.
    fn component_exports(&mut self, body: &[u8]) {
        const HANDLER: &[u8] = b"wasi:http/handler@0.3";
        let Some(start) = body.windows(HANDLER.len()).position(|window| window == HANDLER) else { return };
        let name = body.iter().skip(start).take_while(|byte| byte.is_ascii_graphic()).copied().collect();
        self.handler_p3 = String::from_utf8(name).ok();
    }
}

/// An unsigned number in LEB128, of at most 32 bits, and what follows it.
fn number(bytes: &[u8]) -> Result<(usize, &[u8]), NotWasm> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let value = usize::try_from(value).map_err(|_| NotWasm)?;
            return Ok((value, bytes.get(place + 1..).unwrap_or_default()));
        }
    }
    Err(NotWasm)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        let mut length = body.len();
        let mut bytes = vec![id];
        loop {
            let low = u8::try_from(length & 0x7f).expect("seven bits");
            length >>= 7;
            bytes.push(if length == 0 { low } else { low | 0x80 });
            if length == 0 {
                break;
            }
        }
        [bytes, body.to_vec()].concat()
    }

    fn export(name: &str) -> Vec<u8> {
        [&[u8::try_from(name.len()).expect("short")], name.as_bytes(), &[0, 0]].concat()
    }

    fn module(exports: &[&str]) -> Vec<u8> {
        let rows: Vec<u8> = exports.iter().flat_map(|name| export(name)).collect();
        let count = u8::try_from(exports.len()).expect("few");
        // A data section with the same words says nothing.
        let data = section(11, b"\x01\0 spin-sdk-version-9-9 wasi:http/handler@0.3.0");
        [MODULE.to_vec(), section(7, &[vec![count], rows].concat()), data].concat()
    }

    fn node(spin: Option<&str>) -> NodeVersion {
        NodeVersion {
            image: "node".to_owned(),
            base: None,
            kubernetes: "v1.35.2".to_owned(),
            shim: "0.24.0".to_owned(),
            spin: spin.map(str::to_owned),
            sha256: Default::default(),
        }
    }

    fn sdks() -> Sdks {
        let needs = [("5", "3.4.0"), ("6", "4.0.0")];
        Sdks {
            rust: "5.2.0".to_owned(),
            javascript: "1.0.0".to_owned(),
            needs_spin: needs.map(|(sdk, spin)| (sdk.to_owned(), spin.to_owned())).into(),
        }
    }

    #[test]
    fn b2_a_guest_of_an_sdk_that_the_shim_cannot_run_is_refused_with_both_versions() {
        let old = Guest::read(&module(&["memory", "spin-sdk-version-5-2", "_start"])).expect("Wasm");
        assert_eq!(old, Guest { sdk: Some("5.2".to_owned()), handler_p3: None });
        assert_eq!(old.check("app", &sdks(), &node(Some("3.6.3"))), Ok(()));

        for (version, needs) in [("6-0", "4.0.0"), ("7-1", "4.0.0")] {
            let name = format!("spin-sdk-version-{version}");
            let inner = section(1, &module(&[&name]));
            let new = Guest::read(&[COMPONENT, inner.as_slice()].concat()).expect("Wasm");
            let error = new.check("app", &sdks(), &node(Some("3.6.3"))).expect_err("refused").to_string();
            let version = version.replace('-', ".");
            assert_eq!(
                error,
                format!(
                    "app was written with spin-sdk {version}, which needs Spin {needs} or newer; shim 0.24.0 has Spin 3.6.3"
                )
            );
            assert_eq!(new.check("app", &sdks(), &node(Some("4.0.0"))), Ok(()));
        }
    }

    #[test]
    fn b2_a_handler_of_wasi_0_3_is_refused_and_its_name_elsewhere_is_not() {
        let exports = section(11, b"\x01\0\x1bwasi:http/handler@0.3.0-rc1\x01\x05\0");
        let new = Guest::read(&[COMPONENT, exports.as_slice()].concat()).expect("Wasm");
        for (spin, told) in [(Some("3.6.3"), "Spin 3.6.3"), (None, "Spin 3.6.0, as far as is known")] {
            let error = new.check("app", &sdks(), &node(spin)).expect_err("refused").to_string();
            assert!(error.contains("wasi:http/handler@0.3.0-rc1") && error.ends_with(told), "{error}");
        }
        assert_eq!(new.check("app", &sdks(), &node(Some("4.1.0"))), Ok(()));
        let imports = section(10, b"\x01\0\x1bwasi:http/handler@0.3.0-rc1\x05\0");
        let other = Guest::read(&[COMPONENT, imports.as_slice()].concat()).expect("Wasm");
        assert_eq!(other, Guest::default());
    }

    #[test]
    fn what_is_no_wasm_is_refused() {
        let cut = module(&["memory"]);
        for bytes in
            [&b""[..], b"\x7fELF\0\0\0\0", &cut[..cut.len() - 3], b"\0asm\x01\0\0\0\x07\xff\xff\xff\xff\xff"]
        {
            assert_eq!(Guest::read(bytes), Err(NotWasm), "{bytes:?}");
        }
        // A component within a component within …
        let deep =
            (0..100).fold(COMPONENT.to_vec(), |inner, _| [COMPONENT.to_vec(), section(4, &inner)].concat());
        assert_eq!(Guest::read(&deep), Err(NotWasm));
    }
}
