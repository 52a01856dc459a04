// What the build made of autograd/trace/page/: see embed.py there.
#pragma once

namespace attune::page_assets {

extern const char script[], script_hash[];  // the hashes as a content security policy has them: "sha256-..."
extern const char style[], style_hash[];

}  // namespace attune::page_assets
