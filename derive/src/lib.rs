use proc_macro::TokenStream;
/// x
#[proc_macro_derive(Model, attributes(tf))]
pub fn model(_: TokenStream) -> TokenStream {
    TokenStream::new()
}
