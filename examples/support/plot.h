// Pictures through gnuplot.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace examples {

/// Draws a gnuplot script into the PNG file `path`, written all or not at all: the script's plot commands; data blocks
/// go before them as `$name << EOD`. gnuplot is given the script alone, never a path. Returns false, with the reason in
/// a line on stderr, if gnuplot is missing, fails or takes longer than `limit`, or if the file cannot be written.
bool draw(const std::string& path, int width, int height, const std::string& script,
          std::chrono::seconds limit = std::chrono::seconds(30));

/// "$name << EOD" with a row of numbers a line.
std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows);

}  // namespace examples
