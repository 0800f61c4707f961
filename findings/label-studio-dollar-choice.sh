#!/usr/bin/env bash
# Label Studio 1.23.2: a choice "$10-20" is shown and stored as "undefined-20", without a word
#
# A form asks what a thing costs: "under $10", "$10-20". Guess before it was run: since value="$text" stands for a field of the task, "$10" is
# taken for one, and the form is refused, or the tasks, which have no such field.
# Seen: the form is taken, the tasks are taken, and predictions of "$10-20" are right by the sdk's own check. Only the interface puts a field's
# value in: whoever clicks "$10-20" sees and stores "undefined-20", and that is in the export, a label that the form does not have. Where a
# field of that name is there, its value becomes the label ("$text": the text). An alias is stored as it is written.
# Needs Chromium on the PATH, as a person at the interface does; about 160 packages are installed, and the server listens on 127.0.0.1 alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check label-studio==1.23.2 label-studio-sdk==2.1.2 playwright==1.65.2
cd "$folder"
cat > look.py <<'PY'
import json
import os
import subprocess
import sys
import time
import urllib.request

from label_studio_sdk.label_interface import LabelInterface
from playwright.sync_api import sync_playwright

FORM = """<View><Text name="text" value="$text"/><Choices name="price" toName="text" choice="single-radio">
<Choice value="under $10"/><Choice value="$10-20"/><Choice value="$text"/><Choice value="20 to 30 dollars" alias="$20-30"/>
</Choices></View>"""
PORT, TOKEN = "18374", "0123456789abcdef" * 2 + "01234567"
AT = f"http://127.0.0.1:{PORT}"


def said(choice):
    result = {"id": "a", "type": "choices", "from_name": "price", "to_name": "text", "value": {"choices": [choice]}}
    return {"model_version": "m", "score": 0.5, "result": [result]}


def ask(path, content=None):
    sent = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(AT + path, sent, {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


form = LabelInterface(FORM)
form.validate()
print("sdk, labels:", form.get_control("price").labels)
print("sdk, faults of a prediction of $10-20:", form.validate_prediction(said("$10-20"), return_errors=True))
print("sdk, faults of one of undefined-20:", len(form.validate_prediction(said("undefined-20"), return_errors=True)))

quiet = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"}
env = os.environ | quiet | {"DJANGO_DB": "sqlite", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}
call = ["venv/bin/label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", PORT, "--data-dir", "data"]
call += ["--username", "ann@example.org", "--password", "a long password", "--user-token", TOKEN]
with open("log.txt", "w") as log:
    server = subprocess.Popen(call, env=env, stdout=log, stderr=log)
try:
    for _ in range(600):
        try:
            ask("/api/version")
            break
        except OSError:
            time.sleep(1)
    project = ask("/api/projects/", {"title": "prices", "label_config": FORM})["id"]
    tasks = [{"data": {"text": f"thing {i}"}} for i in range(4)]
    print("tasks taken:", ask(f"/api/projects/{project}/import", tasks)["task_count"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(locale="en")
        page.set_default_timeout(180_000)
        page.goto(f"{AT}/user/login/")
        page.fill("input[name=email]", "ann@example.org")
        page.fill("input[name=password]", "a long password")
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/user/" not in url)
        page.goto(f"{AT}/projects/{project}/data")
        page.click("text=Label All Tasks")
        for i in range(4):
            page.wait_for_function("t => document.querySelector('.lsf-richtext__container')?.innerText === t", arg=f"thing {i}")
            page.wait_for_selector("button:has-text('Submit')")
            boxes = page.locator(".lsf-choice input")
            if i == 0:
                print("shown:", [box.get_attribute("name") for box in boxes.all()])
            boxes.nth(i).click(force=True)
            with page.expect_response(lambda r: r.request.method == "POST" and "/annotations" in r.url) as got:
                page.click("button:has-text('Submit')")
            print("stored:", got.value.status, got.value.json()["result"][0]["value"]["choices"])
        browser.close()
    rows = ask(f"/api/projects/{project}/export?exportType=JSON_MIN")
    print("exported:", [row["price"] for row in sorted(rows, key=lambda row: row["id"])])
finally:
    server.terminate()
    server.wait()
PY
HOME="$folder" venv/bin/python -W ignore look.py "$chromium" | tee seen.txt
cat > expected.txt <<'TXT'
sdk, labels: ['under $10', '$10-20', '$text', '$20-30']
sdk, faults of a prediction of $10-20: []
sdk, faults of one of undefined-20: 1
tasks taken: 4
shown: ['under undefined', 'undefined-20', 'thing 0', '20 to 30 dollars']
stored: 201 ['under undefined']
stored: 201 ['undefined-20']
stored: 201 ['thing 2']
stored: 201 ['$20-30']
exported: ['under undefined', 'undefined-20', 'thing 2', '$20-30']
TXT
diff expected.txt seen.txt
echo "as described"
