# The same addon as CMakeLists.txt, from the same list, for those who build with node-gyp.
{
  "targets": [
    {
      "target_name": "segwal",
      "sources": ["<!@(node -p \"require('fs').readFileSync('native/sources.txt', 'utf8').trim()\")"],
      "include_dirs": ["native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags_cc!": ["-fno-rtti", "-std=gnu++17"],
      "cflags_cc": ["-std=c++20", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wno-missing-field-initializers"],
      "xcode_settings": {
        "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
        "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
        "GCC_ENABLE_CPP_RTTI": "YES",
        "MACOSX_DEPLOYMENT_TARGET": "11.0",
      },
      "msvs_settings": {"VCCLCompilerTool": {"AdditionalOptions": ["/std:c++20"]}},
      "configurations": {"Release": {"defines": ["NDEBUG"]}},
      "conditions": [
        ["OS == 'win'", {"sources/": [["exclude", "^native/platform/posix/"]]}],
        ["OS == 'mac'", {"sources/": [["exclude", "^native/platform/(win32|posix/linux)/"]]}],
        ["OS not in 'win mac'", {"sources/": [["exclude", "^native/platform/(win32|posix/darwin)/"]]}],
      ],
    },
  ],
}
