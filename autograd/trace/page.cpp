#include "autograd/trace/page.h"

#include <fmt/format.h>

#include "autograd/io/file.h"
#include "autograd/trace/internal/page_assets.h"
#include "autograd/trace/internal/page_data.h"

namespace attune {

namespace {

/// Text between tags.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\0': break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

std::string page_html(const Recording& recording, const PageOptions& options) {
  const page::PageData data = page::page_data(recording, options);
  const std::string title = recording.program.empty() ? "a program" : recording.program;
  std::string html = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  // Data blocks are not run, so they need no hash; images are the icon alone.
  html += fmt::format(
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src '{}'; style-src '{}'; "
      "img-src data:; base-uri 'none'; form-action 'none'\">\n",
      page_assets::script_hash, page_assets::style_hash);
  html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  html += "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n";
  html += "<link rel=\"icon\" href=\"data:,\">\n<title>" + escaped(title) + ": gradients, step by step</title>\n";
  html += fmt::format("<style>{}</style>\n</head>\n<body>\n", page_assets::style);
  html +=
      "<noscript>This page draws its recording by a script of its own, which this browser does not run.</noscript>\n";
  // The script takes it away; so it stays where a file ends before its script.
  html += "<p id=\"unready\">This page is not whole yet: it is being read, or its file was cut off.</p>\n";
  html += "<script type=\"application/json\" id=\"recording\">" + data.json + "</script>\n";
  html += "<script type=\"application/json\" id=\"graphs\">" + data.graphs + "</script>\n";
  html += "<script type=\"text/plain\" id=\"values\">" + data.values + "</script>\n";
  html += "<script type=\"text/plain\" id=\"stats\">" + data.stats + "</script>\n";
  html += fmt::format("<script>{}</script>\n</body>\n</html>\n", page_assets::script);
  return html;
}

void write_page(const std::string& path, const Recording& recording, const PageOptions& options, Here here) {
  io::write_text(path, page_html(recording, options), here);
}

}  // namespace attune
