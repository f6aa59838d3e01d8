# Sourced by test.sh: `find_browser` sets $browser to a Chromium that starts, fetching one where it can.

starts() { [ -n "$1" ] && "$1" --version >/dev/null 2>&1; }

installed_browser() {
    for name in "${CPD_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        [ -n "$name" ] || continue
        browser=$(command -v "$name" 2>/dev/null) || continue
        starts "$browser" && return 0
    done
    # Playwright's own, from an earlier time
    browser=$(python -c 'from playwright.sync_api import sync_playwright as p
with p() as play: print(play.chromium.executable_path)' 2>/dev/null)
    [ -x "$browser" ] && starts "$browser"
}

find_browser() {
    installed_browser && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "Installing Chromium with apt ..."
        apt-get update -q >/dev/null 2>&1
        env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium >/dev/null 2>&1
        installed_browser && return 0
    fi
    say "Fetching Playwright's Chromium ..."
    python -m playwright install chromium >/dev/null 2>&1
    installed_browser
}
