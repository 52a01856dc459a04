// Text that language models train on.
#pragma once

#include <string>

namespace examples {

/// The text of a file, as it is or, if gzip has compressed it, as it was. Without a name: the entries of the Jargon
/// File, 1.3 MB of English prose in the public domain, which `./dev run` gets from Debian's package dict-jargon. Throws
/// FileError if the file cannot be read or is empty, and says where text comes from if there is none.
std::string read_text(const std::string& path = "");

}  // namespace examples
