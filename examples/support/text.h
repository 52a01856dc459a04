// Text that language models train on.
#pragma once

#include <string>
#include <vector>

namespace examples {

/// The text of a file, as it is or, if gzip has compressed it, as it was. Without a name: the entries of the Jargon
/// File, 1.3 MB of English prose in the public domain, which `./dev run` gets from Debian's package dict-jargon. Throws
/// FileError if the file cannot be read or is empty, and says where text comes from if there is none.
std::string read_text(const std::string& path = "");

/// What stands between spaces.
std::vector<std::string> words_of(const std::string& text);
/// A text's sentences as words of letters alone, in small ones; long sentences in pieces of so many words.
std::vector<std::vector<std::string>> sentences_of(const std::string& text, std::size_t longest);

}  // namespace examples
